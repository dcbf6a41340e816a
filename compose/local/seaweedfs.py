"""SeaweedFS: S3 on the loopback interface, no telemetry, events by webhook, nothing without a password.

Its PutBucketNotificationConfiguration answers 200 and makes a bucket: events are configured by file only.
"""

import json
import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compose.local.accounts import make_folder, write_private
from compose.local.binaries import weed_program
from compose.local.certificate import make_certificate
from compose.local.layout import Layout
from compose.local.service import Service, Step, scrubbed_environment
from compose.local.vigil import Work
from compose.local.writes import START_SECONDS, find_storage_fault
from face3d.errors import ConfigurationError, StorageUnavailable

if TYPE_CHECKING:
    from face3d.settings import Settings

#: Inbox, work, assets.
BUCKETS = 3
#: It has as many volumes as fit on the disk, and each bucket needs one of its own.
_VOLUME_MB = 1024
#: It writes nothing when less than one percent of the disk is free.
_LEAST_FREE = 0.012
#: The parts of SeaweedFS that speak gRPC to each other, as security.toml calls them.
GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "msg_broker", "msg_agent", "mq", "client")


def weed_arguments(program: Path, home: Path, ports: dict[str, int]) -> tuple[str, ...]:
    """Return the command line of `weed mini`: loopback only, no telemetry, nothing that we do not use."""
    return (
        str(program),
        # Its lines on a webhook that failed hold object keys, which are personal: they stay in its own
        # folder, beside the objects, and in no log that a person reads or sends on.
        f"-logdir={home / 'log'}",
        "-alsologtostderr=false",
        "-stderrthreshold=FATAL",
        "-log_max_size_mb=5",
        "-log_max_files=2",
        "mini",
        f"-dir={home / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={_VOLUME_MB}",
        # The only master need not remember an election: while it resumes one, the first report of the volumes
        # may come too early, and then nothing can be written for 5 to 20 s. Volume and file numbers are
        # learned from the volumes' reports.
        "-master.resumeState=false",
        f"-master.port={ports['weed_master']}",
        f"-volume.port={ports['weed_volume']}",
        f"-filer.port={ports['weed_filer']}",
        f"-s3.port={ports['s3']}",
        f"-admin.port={ports['weed_admin']}",
        "-admin.ui=false",
        # Master and filer serve, list and take objects over HTTP without asking for S3's keys. The S3 gateway
        # needs neither.
        "-disableHttp=true",
        # In the working directory. By default they lie in the system's temporary folder, where one that
        # another user left behind under the same port ends the start.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        # By default it deletes a bucket with all that lies in it, where S3 answers 409.
        "-s3.allowDeleteBucketNotEmpty=false",
        "-webdav=false",
        "-volume.preStopSeconds=0",
    )


def notification_toml(endpoint: str, token: str, bucket: str) -> str:
    """Return SeaweedFS's configuration of upload events of one bucket.

    It sends an event once: its settings of retries change nothing, and are left out.

    Args:
        endpoint: URL that each event is POSTed to, with the token as bearer.
    """
    # A JSON string is a TOML basic string.
    return f"""[notification.webhook]
enabled = true
endpoint = {json.dumps(endpoint)}
bearer_token = {json.dumps(token)}
timeout_seconds = 5
workers = 5
buffer_size = 10000
event_types = ["create", "update", "rename"]
path_prefixes = [{json.dumps(f"/buckets/{bucket}/")}]
"""


def security_toml(key_file: Path, certificate_file: Path) -> str:
    """Return SeaweedFS's configuration of who may speak to its parts: itself only.

    HTTP of volume and filer wants a token signed with a key of this start, gRPC wants the certificate; S3
    alone is open to who has its keys.

    Args:
        key_file: PEM key of the certificate, which is its own authority.
    """
    lines = []
    for name in ("signing", "signing.read", "filer_signing", "filer_signing.read"):
        lines += [f"[jwt.{name}]", f'key = "{secrets.token_hex(32)}"']
    certificate, key = json.dumps(str(certificate_file)), json.dumps(str(key_file))
    lines += ["[grpc]", f"ca = {certificate}"]
    for part in GRPC_PARTS:
        lines += [f"[grpc.{part}]", f"cert = {certificate}", f"key = {key}"]
    return "\n".join(lines) + "\n"


def seaweedfs_items(layout: Layout, settings: "Settings") -> tuple[Service | Step, ...]:
    """Return what runs SeaweedFS: service `seaweedfs`, step `buckets`."""
    home = make_folder(layout.state_dir / "seaweedfs", layout.account)
    for name in ("conf", "data", "log"):
        make_folder(home / name, layout.account)
    endpoint = f"{layout.web_url}/events/storage/seaweedfs"
    events = notification_toml(endpoint, layout.credentials["event_token"], settings.bucket_inbox)
    key, certificate = make_certificate("face3d")
    conf = home / "conf"
    # Read from the working directory.
    for name, text in (
        ("notification.toml", events),
        ("security.toml", security_toml(conf / "grpc.key", conf / "grpc.crt")),
        ("grpc.key", key),
        ("grpc.crt", certificate),
    ):
        write_private(conf / name, text, layout.account)
    find_fault = partial(
        find_storage_fault,
        layout.ports["s3"],
        (layout.credentials["s3_access_key"], layout.credentials["s3_secret_key"]),
        settings.s3_region,
        (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets),
    )
    service = Service(
        name="seaweedfs",
        argv=weed_arguments(weed_program(layout.account), home, layout.ports),
        env={
            **scrubbed_environment(home),
            "AWS_ACCESS_KEY_ID": layout.credentials["s3_access_key"],
            "AWS_SECRET_ACCESS_KEY": layout.credentials["s3_secret_key"],
        },
        cwd=conf,
        log=layout.logs / "seaweedfs.log",
        stop_seconds=6.0,
        ready=lambda: find_fault(START_SECONDS) is None,
        work=Work(find_fault=find_fault, folder=home / "data", room_part=_LEAST_FREE),
        account=layout.account,
    )
    return (service, Step(name="buckets", run=lambda: _prepare_buckets(settings, home), after=("seaweedfs",)))


def _prepare_buckets(settings: "Settings", folder: Path) -> None:
    """Make the buckets.

    Raises:
        StorageUnavailable: nothing can be written to one of them.
        ConfigurationError: so it is, and the disk has no room for a volume of each.
    """
    # boto3 is slow to import: in the step's thread, while the servers start.
    from compose.prepare import prepare_buckets

    try:
        prepare_buckets(settings)
    except StorageUnavailable as error:
        free = shutil.disk_usage(folder).free // 2**20
        if free >= BUCKETS * _VOLUME_MB:
            raise
        raise ConfigurationError(
            f"{error.message} SeaweedFS wants {_VOLUME_MB} MB for a volume of each of the {BUCKETS} buckets; "
            f"{free} MB are free in {folder}: make room, or set FACE3D_STATE_DIR to a folder on another disk."
        ) from error
