"""What AWS wraps around an S3 event on its way: SNS, SQS, EventBridge, in any nesting that AWS offers.

S3 -> SNS topic -> HTTP                 Type=Notification, Message=<text of the event>
S3 -> SQS -> a poller that forwards     Messages[].Body, or Records[].body (the form that Lambda gets)
S3 -> SNS -> SQS                        both
S3 -> EventBridge -> HTTP               source=aws.s3, detail-type=Object Created, detail (key NOT encoded)
"""

from collections.abc import Callable, Sequence

from face3d.errors import InvalidEvent
from storage.event_json import (
    Announcement,
    JsonObject,
    SubscriptionRequest,
    as_object,
    child,
    children,
    load_object,
    object_created,
    read_each,
    text,
)
from storage.s3_records import parse_records

#: SNS in SQS in Lambda's list is the deepest real one.
MAX_DEPTH = 4

#: Finds the text of the event inside one item of a wrapper.
Unwrap = Callable[[JsonObject], str]


def parse_aws(document: JsonObject, depth: int = 0) -> Announcement:
    """Return what an AWS event announces, out of whatever it is wrapped in.

    Raises:
        InvalidEvent: no form that AWS sends.
    """
    if depth > MAX_DEPTH:
        raise InvalidEvent("The event is wrapped too often.")
    if document.get("Type") == "SubscriptionConfirmation":
        return Announcement(
            subscriptions=[SubscriptionRequest(topic=text(document, "TopicArn"), message=document)]
        )
    if document.get("Type") == "UnsubscribeConfirmation":
        return Announcement()
    wrapped = _wrapped(document)
    if wrapped is not None:
        items, unwrap = wrapped
        return read_each(items, lambda item: parse_aws(load_object(unwrap(as_object(item))), depth + 1))
    if "detail-type" in document:
        return _parse_event_bridge(document)
    return parse_records(document, url_encoded=True)


def _wrapped(document: JsonObject) -> tuple[Sequence[object], Unwrap] | None:
    """Return the items of an SNS or SQS wrapper and where their text is; None where there is no wrapper."""
    if document.get("Type") == "Notification":
        return [document], lambda item: text(item, "Message")
    if "Messages" in document:
        return children(document, "Messages"), lambda item: text(item, "Body")
    if document.get("MessageId") and isinstance(document.get("Body"), str):
        return [document], lambda item: text(item, "Body")
    records = document.get("Records")
    first = (
        next((item for item in records if isinstance(item, dict)), {}) if isinstance(records, list) else {}
    )
    if first.get("eventSource") == "aws:sqs":
        return children(document, "Records"), lambda item: text(item, "body")
    if first.get("EventSource") == "aws:sns":
        return children(document, "Records"), lambda item: text(child(item, "Sns"), "Message")
    return None


def _parse_event_bridge(document: JsonObject) -> Announcement:
    if document.get("source") != "aws.s3":
        raise InvalidEvent("The event does not come from S3.")
    if document["detail-type"] != "Object Created":
        return Announcement()
    detail = child(document, "detail")
    entry = child(detail, "object")
    return object_created(text(child(detail, "bucket"), "name"), text(entry, "key"), entry.get("sequencer"))
