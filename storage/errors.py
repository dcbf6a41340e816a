"""Errors of the storage room, beside `StorageUnavailable` of the common root.

None of their messages holds a bucket, a key or a URL: keys are personal data.
"""

from face3d.errors import Face3DError


class ObjectMissing(Face3DError):
    """The object is not there (any more)."""


class ObjectReplaced(Face3DError):
    """The object's bytes are not those that were asked for: its ETag changed."""


class ObjectExists(Face3DError):
    """An object of that name exists already, and the caller asked not to overwrite one."""


class SubscriptionPending(Face3DError):
    """A topic of Amazon SNS asks to be confirmed; a person must do that, we never follow its link.

    Args:
        topic: the topic's ARN.
    """

    def __init__(self, topic: str) -> None:
        super().__init__()
        self.topic = topic
