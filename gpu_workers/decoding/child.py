"""One decoding process, seen from its parent: started, asked with a deadline, never believed, ended."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from gpu_workers.decoding.protocol import (
    Limits,
    ProtocolError,
    Refusal,
    Reply,
    read_message,
    read_reply,
    write_message,
)
from gpu_workers.sandbox.lock import Layers, hide_from_children

Pixels = NDArray[np.uint8]

#: Photos that a child decodes before another takes its place: what a hostile photo leaves in its memory meets
#: at most so many others. A start takes 0.13 s of CPU beside the work, which is 0.4 ms a photo.
PHOTOS_PER_CHILD = 300
_ROOT = Path(__file__).resolve().parents[2]
#: The program of a child, after the interpreter; tests put others in its place.
PROGRAM: tuple[str, ...] = ("-m", "gpu_workers.decoding.decoder")
#: Time that a new child may take to start.
_START_SECONDS = 20.0
#: How much longer a photo may take than its decoding uses a processor: others use it too.
_PATIENCE = 2.0
_MARGIN_SECONDS = 1.0
#: Time that it gets to end.
_END_SECONDS = 5.0
#: What an ordinary user may give a pipe.
_PIPE_BYTES = 2**20


class HungError(Exception):
    """The child did not take the photo, or answer, in time."""


class Child:
    """One decoding process; it starts beside what its parent does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: Photos that it was asked to decode.
        self.photos = 0
        self._layers: Layers | None = None
        self._used_before = 0.0
        if limits.sandbox != "off":
            hide_from_children()
        self._shared = _shared_file(limits.pixel_bytes)
        arguments = [str(self._shared), json.dumps(asdict(limits)), str(PHOTOS_PER_CHILD)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, *PROGRAM, *arguments],
                pass_fds=(self._shared,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                bufsize=0,
            )
        except OSError as error:
            os.close(self._shared)
            raise EngineUnavailable("the photo decoder cannot be started") from error
        if self._process.stdin is None or self._process.stdout is None:
            raise EngineUnavailable("the photo decoder has no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        # A photo goes through in one turn; a child that does not read must not hold us up.
        os.set_blocking(self._stdin.fileno(), False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._status = psutil.Process(self._process.pid)

    @property
    def process_id(self) -> int:
        """Return its process id."""
        return self._process.pid

    def layers(self) -> Layers:
        """Return what the child is locked up by, once it is; it says so before its first photo.

        Raises:
            EngineUnavailable: it does not start, or it is not locked up as the setting requires.
        """
        if self._layers is None:
            try:
                message = read_message(_TimedPipe(self._stdout.fileno(), _START_SECONDS), 0)
                if message is None:
                    raise OSError("the decoder ended")
                fields = {name: value for name, value in message[0].items() if name != "payload"}
                self._layers = Layers.from_dict(fields)
            except (HungError, OSError, ValueError, TypeError) as error:
                raise EngineUnavailable("the photo decoder does not start") from error
        if self.limits.sandbox == "required" and self._layers.missing:
            missing = ", ".join(self._layers.missing)
            raise EngineUnavailable(
                f"The photo decoder's sandbox is required, and this machine does not give it: {missing}."
            )
        return self._layers

    def is_worn(self) -> bool:
        """Return whether the process has decoded enough photos to be replaced."""
        return self.photos >= PHOTOS_PER_CHILD

    def ask(
        self, data: bytes, longest_side: int | None, allocate: Callable[[int], Pixels]
    ) -> tuple[Reply | Refusal, Pixels]:
        """Return the reply and the pixels, row after row; none of a refused photo.

        Raises:
            HungError: no complete reply in time.
            OSError: the child died.
            ProtocolError: it said what cannot be.
            EngineUnavailable: see `layers`.
        """
        self.layers()
        self.photos += 1
        self._used_before = self._cpu_seconds()
        if _is_ready(self._stdout.fileno(), select.POLLIN, 0):
            raise ProtocolError("a reply before the request, or the end")
        seconds = _PATIENCE * self.limits.seconds + _MARGIN_SECONDS
        writer, reader = (_TimedPipe(pipe.fileno(), seconds) for pipe in (self._stdin, self._stdout))
        write_message(writer, {"serial": self.photos, "longest_side": longest_side}, data)
        message = read_message(reader, 0)
        if message is None:
            raise OSError("the decoder ended")
        reply = read_reply(message[0], self.photos, self.limits, longest_side)
        pixels = allocate(0 if isinstance(reply, Refusal) else 3 * reply.width * reply.height)
        done = 0
        while done < len(pixels):
            # Read and never mapped: the child may write while we read, and no more.
            count = os.preadv(self._shared, [pixels[done:].data], done)
            if count <= 0:
                raise OSError("the decoder's pixels end early")
            done += count
        # It wipes what the photo left while nobody waits.
        write_message(writer, {"clear": True})
        return reply, pixels

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used since the last request."""
        return self._cpu_seconds() - self._used_before

    def used_all_its_time(self) -> bool:
        """Return whether the kernel ended the process, which has ended, for the CPU time that it used."""
        return self._process.returncode == -signal.SIGXCPU

    def _cpu_seconds(self) -> float:
        try:
            times = self._status.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> None:
        """End the process."""
        # Without its pipes it ends by itself; a container may let us become nobody and not signal nobody.
        self.release()
        with contextlib.suppress(PermissionError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def release(self) -> None:
        """Close our ends of the pipes; the process ends by itself."""
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1


class _TimedPipe:
    """Reads or writes a pipe up to a deadline."""

    def __init__(self, descriptor: int, seconds: float) -> None:
        self._descriptor = descriptor
        self._deadline = time.monotonic() + seconds

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or fewer at the end of the pipe."""
        buffer = bytearray()
        while len(buffer) < size:
            self._wait(reading=True)
            chunk = os.read(self._descriptor, min(size - len(buffer), 2**20))
            if not chunk:
                break
            buffer += chunk
        return bytes(buffer)

    def write(self, data: Any, /) -> None:
        """Write all the bytes."""
        rest = memoryview(data)
        while rest:
            self._wait(reading=False)
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._descriptor, rest) :]

    def flush(self) -> None:
        """Nothing is held back."""

    def _wait(self, *, reading: bool) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0 or not _is_ready(self._descriptor, select.POLLIN if reading else select.POLLOUT, left):
            raise HungError


def _is_ready(descriptor: int, event: int, seconds: float) -> bool:
    """Return whether a pipe can be read or written, or has ended; select would refuse numbers over 1023."""
    waiting = select.poll()
    waiting.register(descriptor, event)
    return bool(waiting.poll(1000 * seconds))


def _shared_file(size: int) -> int:
    """Return the descriptor of a file in memory whose size nobody can change; it takes what is written."""
    descriptor = os.memfd_create("photo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def _environment() -> dict[str, str]:
    """Return all that a child gets to know: no setting, no secret."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # The C library: one heap for all threads, whose address space is limited; large blocks go back to the
        # kernel, which wipes them, and smaller ones are overwritten as they are freed.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_PERTURB_": "85",
    }
