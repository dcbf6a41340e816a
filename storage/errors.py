"""Errors of this package, beside `StorageUnavailable` of the common root.

None of their messages holds a bucket, a key or a URL: keys are personal data.
"""

from face3d.errors import Face3DError


class ObjectMissing(Face3DError):
    """The object is not there (any more)."""


class ObjectReplaced(Face3DError):
    """The object's bytes are not those that were asked for: its ETag changed."""


class ObjectExists(Face3DError):
    """An object of that name exists already, and the caller asked not to overwrite one."""


class ObjectRefused(Face3DError):
    """The store refuses that key: no object can lie under it."""


class ObjectUnreadable(Face3DError):
    """The object's headers are too many or too long to be read."""
