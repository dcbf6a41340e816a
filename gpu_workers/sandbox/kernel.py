"""System calls that Python has no function for, with their numbers and constants.

Numbers and structures are from Linux's uapi headers: asm/unistd_64.h, asm-generic/unistd.h, linux/prctl.h,
linux/landlock.h, linux/capability.h, linux/seccomp.h.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from typing import Any

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
#: The filter binds every thread of the process, not only the calling one.
SECCOMP_FILTER_FLAG_TSYNC = 1
LANDLOCK_CREATE_RULESET_VERSION = 1
#: _LINUX_CAPABILITY_VERSION_3: two words each of effective, permitted and inheritable capabilities.
_CAPABILITY_VERSION = 0x20080522

#: Numbers that are the same on every machine (they came after the tables were unified).
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
#: Machine to the numbers of prctl, seccomp and capset.
_NUMBERS = {"x86_64": (157, 317, 126), "aarch64": (167, 277, 91)}

#: landlock_ruleset_attr.handled_access_fs by ABI: bits 0 to 12, then REFER, TRUNCATE and IOCTL_DEV.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
#: handled_access_net since ABI 4: BIND_TCP and CONNECT_TCP.
_NET_RIGHTS = 0b11
#: scoped since ABI 6: ABSTRACT_UNIX_SOCKET and SIGNAL.
_SCOPES = 0b11

#: Makes one system call: number and arguments to the result; raises OSError.
Syscall = Callable[..., int]


def system_call(number: int, *arguments: Any) -> int:
    """Make a system call.

    Args:
        arguments: integers and ctypes pointers, as the call wants them.
    Raises:
        OSError: with the kernel's errno.
    """
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(library.syscall(ctypes.c_long(number), *words))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def set_process_flag(option: int, value: int, call: Syscall = system_call) -> None:
    """Set one of prctl's flags of this process.

    Raises:
        OSError: the kernel refuses it, or this machine's numbers are unknown.
    """
    call(_number(0), option, value, 0, 0, 0)


def drop_capabilities(call: Syscall = system_call) -> None:
    """Give up every capability of this process, effective, permitted and inheritable.

    Raises:
        OSError: the kernel refuses it, or this machine's numbers are unknown.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call(_number(2), ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def set_filter(program: bytes, call: Syscall = system_call) -> None:
    """Bind a seccomp filter to all threads of this process, for good.

    Args:
        program: instructions of eight bytes each (struct sock_filter).
    Raises:
        OSError: the kernel refuses it, or this machine's numbers are unknown.
    """

    class Program(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    code = ctypes.create_string_buffer(program, len(program))
    head = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    call(_number(1), SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(head))


def landlock_version(call: Syscall = system_call) -> int:
    """Return the kernel's Landlock ABI, from 1.

    Raises:
        OSError: it has none, or it is switched off.
    """
    return call(_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)


def forbid_paths(call: Syscall = system_call) -> int:
    """Let the calling thread open no path any more; from ABI 4 use no TCP, from 6 signal no outsider.

    Returns:
        The Landlock ABI that did it.
    Raises:
        OSError: the kernel has no Landlock.
    """
    version = landlock_version(call)
    rights = _FS_RIGHTS[max(known for known in _FS_RIGHTS if known <= version)]
    # The structure grew with the ABI; an older kernel refuses a longer one that is not zero.
    words = [rights, *([_NET_RIGHTS] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = (ctypes.c_uint64 * len(words))(*words)
    ruleset = call(_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _number(position: int) -> int:
    try:
        return _NUMBERS[platform.machine()][position]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no system call numbers for {platform.machine()}") from None
