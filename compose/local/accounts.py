"""The unprivileged account that the servers run as when the stack is started by root."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from face3d.errors import ConfigurationError

ACCOUNT_NAME = "face3d"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user that a process is started as."""

    uid: int
    gid: int


def service_account() -> Account | None:
    """Return the account for the servers, made when missing; None when this process is not root.

    PostgreSQL refuses to run as root. Where no account can be made, `nobody` serves.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        entry = _make_account()
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _make_account() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is not None:
        command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", ACCOUNT_NAME], check=False, capture_output=True
        )
    for name in (ACCOUNT_NAME, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and no account for it could be made: add a user {ACCOUNT_NAME}."
    )


def can_reach(path: Path, account: Account) -> bool:
    """Return whether the account may read (a folder: enter) `path` and enter all folders above it."""
    for folder in path.resolve().parents:
        if not _permits(folder.stat(), account, stat.S_IXOTH):
            return False
    needed = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    return _permits(path.stat(), account, needed)


def _permits(status: os.stat_result, account: Account, other_bits: int) -> bool:
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    return (status.st_mode >> shift) & other_bits == other_bits


def make_folder(path: Path, account: Account | None) -> Path:
    """Make a folder of mode 0700 that belongs to the account (or to this user when None)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None and path.stat().st_uid != account.uid:
        os.chown(path, account.uid, account.gid)
    return path


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace a file atomically with mode 0600; it belongs to the account (or to this user when None)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    if account is not None:
        os.chown(draft, account.uid, account.gid)
    draft.replace(path)
