"""Secrets reach neither git nor an image: what both leave out, evaluated as they do."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.project.test_layout import PACKAGES

ROOT = Path(__file__).resolve().parents[3]

SECRETS = (
    "compose/.env",
    ".env",
    "compose/.env.production",
    "compose/.env~",
    "compose/.env_old",
    "compose/production.env",
    "compose/production.env~",
    "compose/docker-compose.override.yml",
    "compose/tls.key",
    "web/server.pem",
    "web/.env",
    "stack.env",
    "compose/stack.env",
    "compose/secrets.json",
    ".face3d/secrets.json",
    ".face3d/stack.env",
)
#: Of no image, though in git or beside it.
OUTSIDE = (
    ".git/config",
    ".venv/bin/python",
    "out/head.glb",
    "tests/unit/project/test_docs.py",
    "my-portrait.jpg",
)


def docker_leaves_out(path: str) -> bool:
    """Tell whether `.dockerignore` leaves a path out: the last pattern that matches it or a folder of it."""
    parts = path.split("/")
    ways = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        expression = docker_expression(pattern.lstrip("!"))
        if any(re.fullmatch(expression, way) for way in ways):
            out = not pattern.startswith("!")
    return out


def docker_expression(pattern: str) -> str:
    """Return a pattern of Docker's (Go's filepath.Match, and `**` for any number of folders)."""
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/")):
        text += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return text


@pytest.mark.parametrize("path", [*SECRETS, *OUTSIDE])
def test_docker_is_not_given_it(path: str) -> None:
    assert docker_leaves_out(path)


@pytest.mark.parametrize("path", SECRETS)
def test_git_does_not_take_it(path: str) -> None:
    asked = subprocess.run(["git", "check-ignore", "--no-index", "-q", path], cwd=ROOT, check=False)
    assert asked.returncode == 0


def test_what_the_image_needs_is_given_and_nothing_else_is_copied() -> None:
    dockerfile = (ROOT / "compose" / "Dockerfile").read_text().replace("\\\n", " ")
    copies = [line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY ")]
    named = {source for sources in copies if not sources[0].startswith("--from") for source in sources}
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock", "requirements-models.lock"}
    assert named == {*files, *PACKAGES}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert named == allowed
    for path in (
        *files,
        "web/static/index.html",
        "compose/prepare.py",
        "migrations/versions/0001_first_schema.py",
    ):
        assert not docker_leaves_out(path)
    assert not list((ROOT / "compose").glob("*.dockerignore")), "it would win over the allow-list"


def test_the_example_file_holds_no_secret_that_works() -> None:
    lines = (ROOT / "compose" / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    secrets = {name for name in values if re.search("PASSWORD|KEY|TOKEN", name)}
    assert len(secrets) >= 8
    assert {values[name] for name in secrets} == {""}


def test_no_secret_is_in_git() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not [
        path
        for path in tracked.stdout.splitlines()
        if re.search(r"(^|/)(\.env|stack\.env|secrets\.json)$", path)
    ]
