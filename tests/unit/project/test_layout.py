"""The map of the packages: names, and which may import which; inside gpu_workers too."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

#: Package to the packages that it may import besides itself. Every one may import face3d.
ALLOWED: dict[str, frozenset[str]] = {
    "face3d": frozenset(),
    "storage": frozenset(),
    "db": frozenset(),
    "assets": frozenset(),
    "gpu_workers": frozenset({"assets"}),
    "migrations": frozenset({"db"}),
    "tasks": frozenset({"gpu_workers", "assets", "storage", "db"}),
    "web": frozenset({"gpu_workers", "assets", "storage", "db", "tasks"}),
    # Starts the whole system, and measures it.
    "compose": frozenset({"storage", "db"}),
    "bench": frozenset({"gpu_workers", "assets", "storage", "db", "tasks", "web", "compose"}),
    "capacity": frozenset({"bench"}),
    "cli": frozenset(
        {"bench", "capacity", "compose", "web", "tasks", "gpu_workers", "assets", "storage", "db"}
    ),
}
PACKAGES = frozenset(ALLOWED)

#: The layers of gpu_workers, bottom first: each imports only what stands in lines before its own. A folder
#: stands for all that is in it.
GPU_LAYERS = (
    ("photo_limits", "photo_formats", "sandbox", "profiles", "gpu_catalog", "nvml", "stage_heartbeats"),
    ("decoding", "memory", "health"),
    ("head/runtime",),
    ("head/ops",),
    ("head/model",),
    ("head/segmentation", "head/landmarks"),
    ("head/photo_quality",),
    ("head/fitting",),
    ("head/rigging",),
    ("head/texturing",),
    ("head/stages",),
    ("head_authoring", "engines/base"),
    ("engines/anny", "engines/hrn", "engines/null", "training"),
    ("engines/registry",),
    ("serving", "batching"),
    ("executor", "selftest"),
    ("launcher",),
)
#: Only these read the packages that assets are made with.
ASSETS_READERS = ("gpu_workers/serving", "gpu_workers/engines", "gpu_workers/head/stages")
#: Build and training: nothing of a worker imports them.
OFFLINE = ("head_authoring", "training")

#: Files in one folder.
MOST_FILES = 25

#: What numeric code must not know.
SERVICES = frozenset(
    {
        *("celery", "kombu", "amqp", "redis", "boto3", "botocore", "sqlalchemy", "psycopg", "alembic"),
        *("fastapi", "starlette", "uvicorn", "httpx"),
    }
)
NUMERIC = (
    "gpu_workers/head",
    "gpu_workers/head_authoring",
    "gpu_workers/training",
    "gpu_workers/engines",
    "assets",
)


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


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_import_one_way(package: str) -> None:
    modules = _modules(package)
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules
        for line, name in _imports(path)
        if name.split(".")[0] in PACKAGES - {package, "face3d"} - ALLOWED[package]
    ]
    assert not wrong, "\n".join(wrong)


def _gpu_layer(name: str) -> tuple[int, str] | None:
    """Return the rank and folder of a module of gpu_workers, None for the package itself."""
    for rank, folders in enumerate(GPU_LAYERS):
        for folder in folders:
            if f"{name}.".startswith(f"gpu_workers/{folder}/".replace("/", ".")):
                return rank, folder
    return None


def test_gpu_workers_import_downwards_only() -> None:
    wrong = []
    for path in _modules("gpu_workers"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        layer = _gpu_layer(own)
        assert layer or own in {"gpu_workers", "gpu_workers.head", "gpu_workers.engines"}, (
            f"{own} has no layer"
        )
        for line, name in _imports(path):
            other = _gpu_layer(name)
            if layer and other and other[1] != layer[1]:
                offline = other[1] in OFFLINE and layer[1] not in OFFLINE
                if other[0] >= layer[0] or offline:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
            if name.split(".")[0] == "assets" and not str(path.relative_to(ROOT)).startswith(ASSETS_READERS):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_over_others() -> None:
    """No circle of imports, not even one that a late import hides."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in _modules(package)
    }
    graph = {
        name: {
            candidate
            for base, symbols in _imported_symbols(path)
            for candidate in (base, *(f"{base}.{symbol}" for symbol in symbols))
            if candidate in names and candidate != name and not name.startswith(f"{candidate}.")
        }
        for name, path in names.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _imported_symbols(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]


def test_a_folder_is_seen_at_a_glance() -> None:
    git = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = Counter(str(Path(name).parent) for name in git.stdout.split("\n") if name)
    assert not {folder: count for folder, count in files.items() if count > MOST_FILES}


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


def test_no_package_hides_a_dependency() -> None:
    """A folder named like a package shadows it: `packaging/` would break pytest and kombu."""
    owners = packages_distributions()
    ours = {path.parent.name for path in ROOT.glob("[!.]*/*.py")} | PACKAGES
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
