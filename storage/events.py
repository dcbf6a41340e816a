"""Upload events of every storage, turned into `ObjectCreated`.

| kind | sender | file |
|---|---|---|
| `seaweedfs` | SeaweedFS, webhook of the filer | seaweedfs_events.py |
| `minio` | MinIO and RustFS, webhook or AMQP | s3_records.py |
| `s3` | AWS S3: direct, or inside SNS, SQS, EventBridge | aws_envelopes.py, s3_records.py |
| `ceph` | Ceph RGW, HTTP or AMQP | s3_records.py |

Events come twice, out of order, early or never; nothing here depends on their order.
"""

from collections.abc import Mapping
from typing import Literal, get_args

from face3d.errors import InvalidEvent
from storage.aws_envelopes import parse_aws
from storage.event_json import Announcement, load_object
from storage.s3_records import parse_records
from storage.seaweedfs_events import parse_seaweedfs

EventKind = Literal["seaweedfs", "minio", "s3", "ceph"]

EVENT_KINDS: tuple[str, ...] = get_args(EventKind)


def parse_events(kind: str, body: bytes, headers: Mapping[str, str]) -> Announcement:
    """Return what one notification announces; nothing for tests, deletes and noise.

    Args:
        kind: one of `EVENT_KINDS`.
        body: the request's or message's body.
        headers: its HTTP headers, names in lower case (empty for a message of a queue).

    Raises:
        InvalidEvent: the kind or the shape is not known, or that of every record.
    """
    match kind:
        case "seaweedfs":
            return parse_seaweedfs(load_object(body))
        case "minio":
            return parse_records(load_object(body), url_encoded=True)
        case "ceph":
            return parse_records(load_object(body), url_encoded=False)
        case "s3":
            document = load_object(body)
            # SNS names the type in a header too, and leaves it out of the body when delivery is raw.
            if headers.get("x-amz-sns-message-type") == "SubscriptionConfirmation":
                document.setdefault("Type", "SubscriptionConfirmation")
            return parse_aws(document)
        case _:
            raise InvalidEvent(f"Events of that kind are not known; known are {', '.join(EVENT_KINDS)}.")
