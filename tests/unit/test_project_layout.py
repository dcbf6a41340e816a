"""The map of the rooms: names, and which room may import which."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

#: Room to the rooms that it may import besides itself. Every room may import face3d.
ALLOWED: dict[str, frozenset[str]] = {
    "face3d": frozenset(),
    "storage": frozenset(),
    "db": frozenset(),
    "assets": frozenset(),
    "gpu_workers": frozenset(),
    "migrations": frozenset({"db"}),
    "tasks": frozenset({"gpu_workers", "assets", "storage", "db"}),
    "web": frozenset({"gpu_workers", "assets", "storage", "db", "tasks"}),
    # Starts the whole system, and measures it.
    "compose": frozenset({"storage", "db"}),
    "bench": frozenset({"gpu_workers", "assets", "storage", "db", "tasks", "web", "compose"}),
}
ROOMS = frozenset(ALLOWED)

#: What numeric code must not know.
SERVICES = frozenset(
    {
        *("celery", "kombu", "amqp", "redis", "boto3", "botocore", "sqlalchemy", "psycopg", "alembic"),
        *("fastapi", "starlette", "uvicorn", "httpx"),
    }
)
NUMERIC = ("gpu_workers/engines", "assets")


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, imported module) for every import in a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_one_way(room: str) -> None:
    modules = [path for path in _modules(room) if not path.is_relative_to(ROOT / "face3d" / "cli")]
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules
        for line, name in _imports(path)
        if (top := name.split(".")[0]) in ROOMS - {room, "face3d"} - ALLOWED[room]
        or (name.startswith("face3d.cli") and top == "face3d")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", NUMERIC)
def test_numeric_code_knows_no_service(folder: str) -> None:
    modules = _modules(folder)
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules
        for line, name in _imports(path)
        if name.split(".")[0] in SERVICES | {"db", "storage", "tasks", "web"}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_room_hides_a_dependency() -> None:
    """A folder named like a package shadows it: `packaging/` would break pytest and kombu."""
    owners = packages_distributions()
    ours = {path.parent.name for path in ROOT.glob("[!.]*/*.py")} | ROOMS
    for name in sorted(ours):
        foreign = [owner for owner in owners.get(name, ()) if owner != "face3d"]
        assert not foreign, f"{name}/ hides {foreign}"
        assert name not in sys.stdlib_module_names


def test_every_pinned_package_is_installed_as_pinned() -> None:
    """The lock is what the tests ran with."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    installed = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version.split("+")[0]
        for dist in distributions()
    }
    different = {
        name: (pin, installed.get(name.lower().replace("_", "-")))
        for name, pin in pins.items()
        if installed.get(name.lower().replace("_", "-")) != pin
    }
    assert not different
