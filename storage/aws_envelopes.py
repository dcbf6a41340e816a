"""What AWS wraps around an S3 event on its way: SNS, SQS, EventBridge, in any nesting that AWS offers.

S3 -> SNS topic -> HTTP                 Type=Notification, Message=<text of the event>
S3 -> SQS -> a poller that forwards     Messages[].Body, or Records[].body (the form that Lambda gets)
S3 -> SNS -> SQS                        both
S3 -> EventBridge -> HTTP               source=aws.s3, detail-type=Object Created, detail (key NOT encoded)
"""

from face3d.errors import InvalidEvent
from face3d.messages import ObjectCreated
from storage.errors import SubscriptionPending
from storage.event_json import JsonObject, child, children, load_object, object_created, text
from storage.s3_records import parse_records

#: SNS in SQS in Lambda's list is the deepest real one.
MAX_DEPTH = 4


def parse_aws(document: JsonObject, depth: int = 0) -> list[ObjectCreated]:
    """Return the objects that an AWS event announces, out of whatever it is wrapped in.

    Raises:
        InvalidEvent: no form that AWS sends.
        SubscriptionPending: SNS asks to confirm a subscription.
    """
    if depth > MAX_DEPTH:
        raise InvalidEvent("The event is wrapped too often.")
    bodies = _wrapped(document)
    if bodies is not None:
        return [event for body in bodies for event in parse_aws(load_object(body), depth + 1)]
    if "detail-type" in document:
        return _parse_event_bridge(document)
    return parse_records(document, url_encoded=True)


def _wrapped(document: JsonObject) -> list[str] | None:
    """Return the texts inside an SNS or SQS wrapper, or None where there is no wrapper."""
    kind = document.get("Type")
    if kind == "Notification":
        return [text(document, "Message")]
    if kind == "SubscriptionConfirmation":
        raise SubscriptionPending(text(document, "TopicArn"))
    if kind == "UnsubscribeConfirmation":
        return []
    if "Messages" in document:
        return [text(message, "Body") for message in children(document, "Messages")]
    if document.get("MessageId") and isinstance(document.get("Body"), str):
        return [text(document, "Body")]
    records = document.get("Records")
    if not isinstance(records, list) or not records or not isinstance(records[0], dict):
        return None
    if records[0].get("eventSource") == "aws:sqs":
        return [text(record, "body") for record in children(document, "Records")]
    if records[0].get("EventSource") == "aws:sns":
        return [text(child(record, "Sns"), "Message") for record in children(document, "Records")]
    return None


def _parse_event_bridge(document: JsonObject) -> list[ObjectCreated]:
    if document.get("source") != "aws.s3":
        raise InvalidEvent("The event does not come from S3.")
    if document["detail-type"] != "Object Created":
        return []
    detail = child(document, "detail")
    entry = child(detail, "object")
    return object_created(text(child(detail, "bucket"), "name"), text(entry, "key"), entry.get("sequencer"))
