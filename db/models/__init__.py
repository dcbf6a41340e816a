"""Tables. Constraints make wrong states impossible; times are the database's."""

from db.models.base import Base
from db.models.jobs import Artifact, Attempt, ErasedPhoto, Job, OutboxEntry, Stage
from db.models.operation import Chore, EventSubscription, Relay, SignIn, Worker
from db.models.webhooks import Delivery, DeliveryTry, WebhookEndpoint

__all__ = [
    "Artifact", "Attempt", "Base", "Chore", "Delivery", "DeliveryTry", "ErasedPhoto", "EventSubscription",
    "Job", "OutboxEntry", "Relay", "SignIn", "Stage", "WebhookEndpoint", "Worker",
]  # fmt: skip
