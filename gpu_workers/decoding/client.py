"""Photos in: untrusted bytes to upright sRGB pixels, decoded in a locked-up child process.

Children are kept between photos, and replaced when they die, hang, say what cannot be, or have decoded
enough. They are plain subprocesses, so that they also work inside Celery's daemonic prefork children.
"""

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable, ErrorCode, RefusedError
from gpu_workers.decoding.child import Child, HungError, Pixels
from gpu_workers.decoding.protocol import FORMATS, REFUSALS, Limits, Refusal, Reply
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.sandbox.lock import Layers

#: Idle children that are kept; more run at once when more threads decode.
_IDLE_CHILDREN = 2
#: Share of its CPU time from which on a photo, not the machine, is why the decoder did not end in time.
_BLAME = 0.8


def plain_memory(size: int) -> Pixels:
    """Return so many uninitialised bytes."""
    return np.empty(size, np.uint8)


@dataclass(frozen=True, kw_only=True)
class DecodedPhoto:
    """A photo without its metadata."""

    #: (H, W, 3) uint8 sRGB, upright.
    rgb: NDArray[np.uint8]
    #: Focal length as on 35 mm film (millimetres), where EXIF says it.
    focal_35mm: float | None
    #: Width and height of the upright photo before any shrinking, pixels.
    original_size: tuple[int, int]
    #: JPEG, PNG, ...
    format: str


def decode_photo(
    data: bytes,
    limits: PhotoLimits,
    longest_side: int | None = None,
    allocate: Callable[[int], Pixels] = plain_memory,
) -> DecodedPhoto:
    """Decode a photo: upright, its stated colours as sRGB, first frame of an animation, alpha on white.

    Args:
        data: the uploaded file's bytes.
        longest_side: shrink to this at most; None keeps the size.
        allocate: returns so many bytes for the pixels.
    Raises:
        RefusedError: not_an_image, image_too_large or truncated_image, with value and limit.
        EngineUnavailable: the decoding process cannot be started, or not locked up as the setting requires.
    """
    if len(data) > limits.max_bytes:
        raise RefusedError(
            ErrorCode.IMAGE_TOO_LARGE,
            "The photo's file is too large.",
            value=f"{len(data)} bytes",
            limit=f"{limits.max_bytes} bytes",
        )
    if not data:
        raise RefusedError(ErrorCode.NOT_AN_IMAGE, "The file is empty.", value="0 bytes", limit="an image")
    reply, pixels = _children.ask(_child_limits(limits), data, longest_side, allocate)
    if isinstance(reply, Refusal):
        code, message = REFUSALS[reply.reason]
        raise RefusedError(ErrorCode(code), message, value=reply.value, limit=_limit(reply.reason, limits))
    return DecodedPhoto(
        rgb=pixels.reshape(reply.height, reply.width, 3),
        focal_35mm=reply.focal_35mm,
        original_size=(reply.original_width, reply.original_height),
        format=reply.format,
    )


def decoder_layers(limits: PhotoLimits) -> Layers:
    """Start a decoder, return what it is locked up by on this machine, and end it.

    Raises:
        EngineUnavailable: it cannot be started, or not locked up as the setting requires; the message says
            what is missing.
    """
    child = Child(_child_limits(limits))
    try:
        return child.layers()
    finally:
        child.kill()


def check_sandbox(limits: PhotoLimits) -> None:
    """Refuse to go on where the setting requires a sandbox that this machine does not give.

    Raises:
        EngineUnavailable: see `decoder_layers`.
    """
    if limits.decoder_sandbox == "required":
        decoder_layers(limits)


def _child_limits(limits: PhotoLimits) -> Limits:
    return Limits(
        max_megapixels=limits.max_megapixels,
        memory_mb=limits.decode_memory_mb,
        seconds=limits.decode_seconds,
        sandbox=limits.decoder_sandbox,
    )


def _limit(reason: str, limits: PhotoLimits) -> str:
    return {
        "unreadable": ", ".join(FORMATS),
        "too_many_pixels": f"{limits.max_megapixels:g} megapixels",
        "cut_short": "a whole file",
        "too_much_memory": f"{limits.decode_memory_mb} MB",
    }[reason]


def _takes_too_long(limits: Limits) -> RefusedError:
    return RefusedError(
        ErrorCode.IMAGE_TOO_LARGE,
        "The photo takes too long to decode.",
        value=f"more than {limits.seconds:g} s",
        limit=f"{limits.seconds:g} s",
    )


class _Children:
    """Idle decoding processes of this process; a fork starts with none."""

    def __init__(self) -> None:
        self._idle: list[Child] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.finish)

    def ask(
        self, limits: Limits, data: bytes, longest_side: int | None, allocate: Callable[[int], Pixels]
    ) -> tuple[Reply | Refusal, Pixels]:
        """Decode in an idle child or a new one; a child that fails is replaced.

        A file is blamed only for what it does twice, or for time that its decoding really used: a child may
        also die or starve for the machine's reasons.

        Raises:
            RefusedError: the file takes too long, or breaks the decoder.
            EngineUnavailable: the machine gave the decoder no time, or it does not start.
        """
        for last_try in (False, True):
            child = (None if last_try else self._take(limits)) or Child(limits)
            try:
                reply = child.ask(data, longest_side, allocate)
            except HungError:
                used = child.cpu_seconds()
                child.kill()
                if used < _BLAME * limits.seconds:
                    raise EngineUnavailable("The machine is too busy to decode a photo in time.") from None
                raise _takes_too_long(limits) from None
            except (OSError, ValueError):
                child.kill()
                if child.used_all_its_time():
                    raise _takes_too_long(limits) from None
                continue
            except BaseException:
                child.kill()
                raise
            self._keep(child)
            return reply
        raise RefusedError(
            ErrorCode.NOT_AN_IMAGE,
            "The file breaks the decoder.",
            value=f"{len(data)} bytes",
            limit="an image within the limits of memory and time",
        )

    def _take(self, limits: Limits) -> Child | None:
        """Return an idle child of these limits; those of others are ended."""
        with self._lock:
            fitting = [child for child in self._idle if child.limits == limits]
            others = [child for child in self._idle if child.limits != limits]
            found = fitting.pop() if fitting else None
            self._idle = fitting
        for child in others:
            child.kill()
        return found

    def _keep(self, child: Child) -> None:
        """Keep a child for the next photo, or one that starts now in its place."""
        worn = child.is_worn()
        kept = Child(child.limits) if worn else child
        with self._lock:
            room = len(self._idle) < _IDLE_CHILDREN
            if room:
                self._idle.append(kept)
        if worn:
            child.kill()
        if not room:
            kept.kill()

    def _forget(self) -> None:
        # The parent's children answer the parent: close our copies of the pipes, touch nothing else.
        for child in self._idle:
            child.release()
        self._idle = []
        self._lock = threading.Lock()

    def finish(self) -> None:
        """End all idle children."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()


_children = _Children()
