"""Photos in: untrusted bytes to upright sRGB pixels, decoded in a limited child process.

The child is kept between photos and replaced when it dies or hangs. It is a plain subprocess, so that it
also works inside Celery's daemonic prefork children.
"""

import atexit
import contextlib
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import psutil
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable, ErrorCode, RefusedError
from gpu_workers.engines.base import PhotoLimits
from gpu_workers.photo_decoder import Header, read_message, write_message

Pixels = NDArray[np.uint8]

_ROOT = Path(__file__).resolve().parent.parent
#: Time that a new child may take to start, on top of a photo's own.
_START_SECONDS = 20.0
#: What an ordinary user may give a pipe.
_PIPE_BYTES = 2**20
#: Idle children that are kept; more run at once when more threads decode.
_IDLE_CHILDREN = 2


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
    """Decode a photo: EXIF turn, colour profile to sRGB, first frame of an animation, alpha on white.

    Args:
        data: the uploaded file's bytes.
        longest_side: shrink to this at most; None keeps the size.
        allocate: returns so many bytes for the pixels.
    Raises:
        RefusedError: not_an_image, image_too_large or truncated_image, with value and limit.
        EngineUnavailable: the decoding process cannot be started.
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
    request: Header = {
        "seconds": limits.decode_seconds,
        "memory_mb": limits.decode_memory_mb,
        "max_megapixels": limits.max_megapixels,
        "longest_side": longest_side,
    }
    header, pixels = _children.ask(request, data, limits.decode_seconds, allocate)
    if "code" in header:
        raise RefusedError(
            ErrorCode(header["code"]), header["message"], value=header["value"], limit=header["limit"]
        )
    rgb = pixels.reshape(header["height"], header["width"], 3)
    return DecodedPhoto(
        rgb=rgb,
        focal_35mm=header["focal_35mm"],
        original_size=(header["original_width"], header["original_height"]),
        format=header["format"],
    )


class _Hung(Exception):
    """The child did not answer in time."""


class _Child:
    """One decoding process."""

    def __init__(self) -> None:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        # Read with preadv and never mapped: a child that shrinks the file cannot harm this process.
        self._shared = os.memfd_create("photo")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gpu_workers.photo_decoder", str(self._shared)],
                pass_fds=(self._shared,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            os.close(self._shared)
            raise EngineUnavailable("the photo decoder cannot be started") from error
        if self._process.stdin is not None:
            # A photo goes through in one turn.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._status = psutil.Process(self._process.pid)
        self._fresh = True
        self._used_before = 0.0

    def ask(
        self, request: Header, data: bytes, seconds: float, allocate: Callable[[int], Pixels]
    ) -> tuple[Header, Pixels]:
        """Return the reply: its header and the pixels, row after row; none of a refused photo.

        Raises:
            _Hung: no complete reply in time.
            OSError, ValueError: the child died.
        """
        self._used_before = self._cpu_seconds()
        deadline = time.monotonic() + seconds + (_START_SECONDS if self._fresh else 1.0)
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise OSError("no pipes")
        write_message(stdin, request, data)  # type: ignore[arg-type]
        reply = read_message(_TimedReader(stdout, deadline))  # type: ignore[arg-type]
        if reply is None:
            raise OSError("the decoder ended")
        self._fresh = False
        header, _ = reply
        pixels = allocate(0 if "code" in header else 3 * header["width"] * header["height"])
        done = 0
        while done < len(pixels):
            count = os.preadv(self._shared, [pixels[done:].data], done)
            if count <= 0:
                raise OSError("the decoder wrote too few pixels")
            done += count
        return header, pixels

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used since the last request."""
        return self._cpu_seconds() - self._used_before

    def _cpu_seconds(self) -> float:
        try:
            times = self._status.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> None:
        """End the process."""
        self.release()
        self._process.kill()
        self._process.wait()

    def release(self) -> None:
        """Close our ends of the pipes; the process ends by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1

    def finish(self) -> None:
        """End the process gently."""
        self.release()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _TimedReader:
    """Reads a pipe up to a deadline."""

    def __init__(self, pipe: IO[bytes], deadline: float) -> None:
        self._descriptor = pipe.fileno()
        self._deadline = deadline

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end of the pipe."""
        buffer = bytearray()
        while len(buffer) < size:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise _Hung
            chunk = os.read(self._descriptor, min(size - len(buffer), 2**20))
            if not chunk:
                break
            buffer += chunk
        return bytes(buffer)


class _Children:
    """Idle decoding processes of this process; a fork starts with none."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._finish)

    def ask(
        self, request: Header, data: bytes, seconds: float, allocate: Callable[[int], Pixels]
    ) -> tuple[Header, Pixels]:
        """Decode in an idle child or a new one; a child that fails is replaced.

        A file is blamed only for what it does twice, or for time that its decoding really used: a child may
        also die or starve for the machine's reasons.

        Raises:
            RefusedError: the file takes too long, or breaks the decoder.
            EngineUnavailable: the machine gave the decoder no time.
        """
        for last_try in (False, True):
            with self._lock:
                child = self._idle.pop() if self._idle and not last_try else None
            child = child or _Child()
            try:
                reply = child.ask(request, data, seconds, allocate)
            except _Hung:
                used = child.cpu_seconds()
                child.kill()
                if used < seconds / 2:
                    raise EngineUnavailable("The machine is too busy to decode a photo in time.") from None
                raise RefusedError(
                    ErrorCode.IMAGE_TOO_LARGE,
                    "The photo takes too long to decode.",
                    value=f"more than {seconds:g} s",
                    limit=f"{seconds:g} s",
                ) from None
            except (OSError, ValueError):
                child.kill()
                continue
            with self._lock:
                if len(self._idle) < _IDLE_CHILDREN:
                    self._idle.append(child)
                    return reply
            child.finish()
            return reply
        raise RefusedError(
            ErrorCode.NOT_AN_IMAGE,
            "The file breaks the decoder.",
            value=f"{len(data)} bytes",
            limit="an image within the limits of memory and time",
        )

    def _forget(self) -> None:
        # The parent's children answer the parent: close our copies of the pipes, touch nothing else.
        for child in self._idle:
            child.release()
        self._idle = []
        self._lock = threading.Lock()

    def _finish(self) -> None:
        for child in self._idle:
            child.finish()
        self._idle = []


_children = _Children()
