"""Locks itself up as the photo decoder does, then tries harmlessly what a decoder must not be able to do.

`python -m tests.unit.decoding.decoder_probe`, a JSON request on stdin, a JSON answer on stdout: which
attempts got through, and what photos still decode to.
"""

import base64
import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_workers.decoding.decoder import SharedPixels, decode, lock_up, rehearse
from gpu_workers.decoding.protocol import Limits
from gpu_workers.sandbox.kernel import system_call
from gpu_workers.sandbox.lock import lock_process

#: System call numbers that kernels without a layer do not know (x86_64 and aarch64).
NUMBERS = {"landlock": {444, 445, 446}, "seccomp": {317, 277}}
PTRACE, PROCESS_VM_READV = (101, 310) if os.uname().machine == "x86_64" else (117, 270)
PTRACE_SEIZE = 0x4206


def attempts(secret: str, folder: str, port: int) -> dict[str, Callable[[], Any]]:
    """Return name to what is tried; each raises OSError when it is refused."""
    parent = os.getppid()

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def connect() -> None:
        with socket.socket() as connection:
            try:
                connection.connect(("127.0.0.1", port))
            except ConnectionRefusedError:
                # The kernel asked the port: the process has a network.
                return

    def read_memory() -> None:
        buffer = ctypes.create_string_buffer(8)
        local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
        remote = (ctypes.c_size_t * 2)(int(ctypes.addressof(buffer)), 8)
        try:
            system_call(PROCESS_VM_READV, parent, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
        except OSError as error:
            # It may look; there is nothing at this address.
            if error.errno != errno.EFAULT:
                raise

    return {
        "read the parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "open the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "read the parent's memory": read_memory,
        "trace the parent": lambda: system_call(PTRACE, PTRACE_SEIZE, parent, 0, 0),
        "read a secrets file": lambda: Path(secret).read_bytes(),
        "read a public file": lambda: Path("/etc/passwd").read_bytes(),
        "list a folder": lambda: list(Path("/").iterdir()),
        "write a file": lambda: (Path(folder) / "written").write_text("x"),
        "connect to the loopback": connect,
        "make a socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "start a process": fork,
        "start a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "become a program": lambda: os.execv("/bin/nothing-of-this-name", ["x"]),
        "signal the parent": lambda: os.kill(parent, 0),
        "become root": lambda: os.setresuid(0, 0, 0),
        "run bytes": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
        "get more memory": lambda: raise_limit(resource.RLIMIT_AS),
        "get larger files": lambda: raise_limit(resource.RLIMIT_FSIZE),
        "get a core file": lambda: raise_limit(resource.RLIMIT_CORE),
    }


def raise_limit(kind: int) -> None:
    """Try to double a hard limit."""
    limit = 2 * resource.getrlimit(kind)[1] + 4096
    try:
        resource.setrlimit(kind, (limit, limit))
    except ValueError as error:
        # What Python makes of EPERM here.
        raise PermissionError from error


def gets_through(attempt: Callable[[], Any]) -> bool:
    """Return whether an attempt was not refused."""
    try:
        attempt()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.read())
    limits = Limits(max_megapixels=4.0, memory_mb=1024, seconds=5.0, sandbox="auto")
    photos = {name: base64.b64decode(text) for name, text in request["photos"].items()}
    tried = attempts(request["secret"], request["folder"], request["port"])
    shared = SharedPixels(os.memfd_create("pixels"))
    os.truncate(shared._descriptor, limits.pixel_bytes)
    unlocked = {name: gets_through(tried[name]) for name in request["before"]}
    missing = set().union(*(NUMBERS[name] for name in request["missing"]))

    def older_kernel(number: int, *arguments: Any) -> int:
        if number in missing:
            raise OSError(errno.ENOSYS, "not in this kernel")
        return system_call(number, *arguments)

    if missing:
        rehearse()
        layers = lock_process(limits.memory_mb * 2**20, 60, older_kernel)
    else:
        layers = lock_up(limits, 10)
    through = [name for name, attempt in tried.items() if gets_through(attempt)]
    decoded = {}
    for name, data in photos.items():
        header = decode(data, limits.max_megapixels, None, shared)
        pixels = shared.take(3 * header["width"] * header["height"])
        decoded[name] = [header["format"], header["width"], header["height"], sum(pixels) / len(pixels)]
    answer = {"layers": layers.as_dict(), "before": unlocked, "through": through, "decoded": decoded}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
