"""Locks the calling process up, one layer after the other, and says which of them this kernel gave.

The layers overlap on purpose: where one is missing, the others still keep the process from files, network and
other processes. Nothing can be undone by the process itself.
"""

import contextlib
import os
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from gpu_workers.sandbox import kernel
from gpu_workers.sandbox.call_filter import filter_program
from gpu_workers.sandbox.kernel import Syscall, system_call

#: The user and group `nobody`: owns no file anywhere.
NOBODY = 65534
#: Descriptors at once: the pipes, the shared file, and a second one while it is mapped.
_FILES = 16
#: Processes and threads of user nobody together; only where the process became that user.
_PROCESSES = 512


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What a locked process is bound by."""

    #: It can gain no rights by starting a program.
    no_new_privileges: bool
    #: It was root and is nobody now.
    other_user: bool
    #: Landlock's ABI; 0: the kernel has none, or has it switched off.
    landlock: int
    #: The filter of system calls is on.
    seccomp: bool
    #: User id that it runs as.
    user: int

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the names of the layers that the setting `required` asks for and this process lacks."""
        lacks = {
            "no_new_privs": not self.no_new_privileges,
            "seccomp": not self.seccomp,
            "Landlock": self.landlock < 1,
            "another user than root": self.user == 0,
        }
        return tuple(name for name, lacking in lacks.items() if lacking)

    def describe(self) -> str:
        """Return a line for the operator."""
        user = "user nobody" if self.other_user else f"user {self.user}"
        landlock = f"Landlock {self.landlock}" if self.landlock else "no Landlock"
        parts = [user, landlock, "seccomp" if self.seccomp else "no seccomp"]
        return ", ".join(parts if self.no_new_privileges else [*parts, "no no_new_privs"])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return what `as_dict` gave.

        Raises:
            TypeError, ValueError: other fields, or fields of other types.
        """
        layers = cls(**fields)
        for name, value in asdict(layers).items():
            if type(value) is not (int if name in ("landlock", "user") else bool):
                raise ValueError(f"{name} is a {type(value).__name__}")
        return layers


def lock_process(memory_bytes: int, cpu_seconds: int, call: Syscall = system_call) -> Layers:
    """Lock this process up for good.

    Args:
        memory_bytes: hard limit of its address space.
        cpu_seconds: hard limit of its CPU time, from its start.
        call: makes the system calls; tests hand in kernels that lack some.
    Returns:
        The layers that hold now.
    """
    limit_resources(memory_bytes, cpu_seconds)
    other_user = _become_nobody()
    with contextlib.suppress(OSError):
        kernel.drop_capabilities(call)
    with contextlib.suppress(OSError):
        # Nobody else of this user may read its memory. Changing the user does the same.
        kernel.set_process_flag(kernel.PR_SET_DUMPABLE, 0, call)
    privileges = _holds(lambda: kernel.set_process_flag(kernel.PR_SET_NO_NEW_PRIVS, 1, call))
    try:
        landlock = kernel.forbid_paths(call) if _is_alone() else 0
    except OSError:
        landlock = 0
    # Afterwards it cannot ask any more.
    user = os.geteuid()
    seccomp = _holds(lambda: kernel.set_filter(filter_program(), call))
    return Layers(
        no_new_privileges=privileges,
        other_user=other_user,
        landlock=landlock,
        seccomp=seccomp,
        user=user,
    )


def limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Set hard limits: no core file, no file that grows, few descriptors, so much memory and CPU time."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (least, least))


def hide_from_children() -> None:
    """Let no process of this user read this one's memory and environment, as a decoder that broke out would.

    Root still may. A core file is not written either, so that no photo lands in one.
    """
    with contextlib.suppress(OSError):
        kernel.set_process_flag(kernel.PR_SET_DUMPABLE, 0)


def _is_alone() -> bool:
    # Landlock binds the calling thread and those that it starts, no others.
    return len(list(Path("/proc/self/task").iterdir())) == 1


def _become_nobody() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        # A container may lack these capabilities, or have no such user.
        return False
    resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))
    return True


def _holds(step: Callable[[], None]) -> bool:
    try:
        step()
    except OSError:
        return False
    return True
