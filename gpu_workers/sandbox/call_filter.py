"""The seccomp filter: the few system calls that decoding a photo takes; every other one fails with EPERM.

No file can be opened, no socket made, no program or process started, no other process touched, and no memory
made executable. What a later kernel adds is refused as well, for the list names what is allowed.

Sources: linux/bpf_common.h, linux/seccomp.h, linux/audit.h; the numbers asm/unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64).
"""

import errno
import os
import platform
import struct

#: Name to the numbers on x86_64 and aarch64.
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "close": (3, 57),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "brk": (12, 214),
    "madvise": (28, 233),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getcpu": (309, 168),
    "sysinfo": (99, 179),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_MMAP = (9, 222)
_MPROTECT = (10, 226)
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_PRLIMIT = (302, 261)
_FCNTL = (72, 25)
_TGKILL = (234, 131)
#: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_PROT_EXEC = 4
_CLONE_THREAD = 0x10000
#: F_DUPFD, F_GETFD, F_GETFL, F_DUPFD_CLOEXEC: mapping a file makes a second descriptor of it.
_FCNTL_COMMANDS = (0, 1, 3, 1030)

#: Of struct seccomp_data: the number, the architecture, the low words of the arguments.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_KILL = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

_Instruction = tuple[int, int, int, int]


def filter_program() -> bytes:
    """Return the filter of this machine and process: instructions of eight bytes each.

    Raises:
        OSError: this machine's numbers are unknown.
    """
    try:
        column, architecture = _ARCHITECTURES[platform.machine()]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no filter for {platform.machine()}") from None
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for numbers in _ALLOWED.values():
        code += _when(numbers[column], [(_RETURN, 0, 0, _ALLOW)])
    for numbers in (_MMAP, _MPROTECT):
        code += _when(numbers[column], _allow_unless_bit(2, _PROT_EXEC))
    # A thread is no process: libde265 decodes in one. What clone3 would do cannot be read from its argument:
    # the C library takes ENOSYS for an old kernel and calls clone.
    code += _when(_CLONE[column], _allow_if_bit(0, _CLONE_THREAD))
    code += _when(_CLONE3[column], [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    code += _when(_PRLIMIT[column], _allow_if_equal(0, (0,)))
    code += _when(_FCNTL[column], _allow_if_equal(1, _FCNTL_COMMANDS))
    code += _when(_TGKILL[column], _allow_if_equal(0, (os.getpid(),)))
    code.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _when(number: int, block: list[_Instruction]) -> list[_Instruction]:
    """Return code that runs a block, which ends in returns, for one system call."""
    return [(_EQUAL, 0, len(block), number), *block]


def _allow_if_bit(argument: int, bit: int) -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
        (_ANY_BIT, 0, 1, bit),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _allow_unless_bit(argument: int, bit: int) -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
        (_ANY_BIT, 1, 0, bit),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _allow_if_equal(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    code: list[_Instruction] = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)]
    for value in values:
        code += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*code, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
