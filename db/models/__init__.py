"""Tables. Constraints make wrong states impossible; times are the database's."""

from db.models.base import Base
from db.models.jobs import Artifact, Attempt, ErasedPhoto, Job, OutboxEntry, Stage
from db.models.operation import EventSubscription, PeriodicTask, Relay, SignIn, Worker
from db.models.webhooks import Delivery, DeliveryTry, WebhookEndpoint

__all__ = [
    "Artifact", "Attempt", "Base", "Delivery", "DeliveryTry", "ErasedPhoto", "EventSubscription",
    "Job", "OutboxEntry", "PeriodicTask", "Relay", "SignIn", "Stage", "WebhookEndpoint", "Worker",
]  # fmt: skip
