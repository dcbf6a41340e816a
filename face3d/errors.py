"""One error root for the whole project.

    Face3DError
    |-- ConfigurationError      the settings or the machine do not allow it
    |-- RefusedError            bad input: the job ends `failed` with a code (DESIGN section 9)
    |-- RetryableError          worth another attempt: storage, broker or device hiccups
    |   |-- StorageUnavailable
    |   |-- OutOfDeviceMemory
    |   `-- EngineUnavailable
    |-- ArtifactUnreadable      what an earlier stage left: the stage that wrote it runs again
    |-- LeaseLost               another attempt owns the stage now
    `-- InvalidEvent            a storage event that no adapter understands

A class's docstring is its default message.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Codes that customers see in webhook, API, page and manifest."""

    NOT_AN_IMAGE = "not_an_image"
    IMAGE_TOO_LARGE = "image_too_large"
    TRUNCATED_IMAGE = "truncated_image"
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    FACE_TOO_SMALL = "face_too_small"
    FACE_TURNED_AWAY = "face_turned_away"
    FACE_COVERED = "face_covered"
    LANDMARKS_UNCERTAIN = "landmarks_uncertain"
    FACE_UNCLEAR = "face_unclear"
    TOO_BLURRED = "too_blurred"
    TOO_DARK = "too_dark"
    BAD_OPTION = "bad_option"
    PHOTO_REPLACED = "photo_replaced"
    PHOTO_GONE = "photo_gone"
    VIEW_MISSING = "view_missing"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    WORKER_DIED = "worker_died"
    NEVER_FINISHED = "never_finished"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    ARTIFACT_UNREADABLE = "artifact_unreadable"
    INTERNAL_ERROR = "internal_error"


#: Refusals whose value is what the caller wrote: an option's text or a key, personal, and in no log.
_CALLERS_OWN = frozenset({ErrorCode.BAD_OPTION, ErrorCode.VIEW_MISSING})


class Face3DError(Exception):
    """Something went wrong in Face3D."""

    def __init__(self, message: str | None = None) -> None:
        self.message: str = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class ConfigurationError(Face3DError):
    """The settings or this machine do not allow what was asked."""


class RefusedError(Face3DError):
    """The input was refused.

    Args:
        code: what the customer's program switches on.
        message: one sentence for a person; never holds a key, a URL or a photo's contents.
        value: what was measured.
        limit: what is allowed.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        value: float | str | None = None,
        limit: float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.value = value
        self.limit = limit

    @property
    def measured(self) -> float | str | None:
        """Return the value as a log may show it: what was measured, never what the caller wrote."""
        return None if self.code in _CALLERS_OWN else self.value

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_refused, (self.code.value, self.message, self.value, self.limit))


def _rebuild_refused(
    code: str, message: str, value: float | str | None, limit: float | str | None
) -> RefusedError:
    return RefusedError(ErrorCode(code), message, value=value, limit=limit)


class RetryableError(Face3DError):
    """A passing fault: another attempt may succeed."""

    #: The job's code when no attempt is left.
    code: ErrorCode = ErrorCode.INTERNAL_ERROR


class StorageUnavailable(RetryableError):
    """The object store did not answer as it should."""

    code = ErrorCode.STORAGE_UNAVAILABLE


class EngineUnavailable(RetryableError):
    """The engine cannot run on this worker (model files or device missing)."""

    code = ErrorCode.ENGINE_UNAVAILABLE


class OutOfDeviceMemory(RetryableError):
    """The device's memory did not suffice, even alone and with the lightest profile."""


class ArtifactUnreadable(Face3DError):
    """What an earlier stage left is missing, damaged, or of another version's format."""


class LeaseLost(Face3DError):
    """Another attempt owns this stage now; this one must write nothing more."""


class InvalidEvent(Face3DError):
    """A storage event that no adapter understands."""
