"""The web process of the job API holds no torch, whatever is installed beside it."""

import json
import os
import subprocess
import sys

from compose.local import Stack
from face3d.settings import ROOT

#: Serves both probes, then imports whatever a line of web/ imports, first lines and lines of functions alike.
#: web/reconstruct.py is of another process, the one that holds an engine.
_PROGRAM = """
import ast, importlib, json, sys
from pathlib import Path

from face3d.settings import get_settings
from tests.web_client import TestClient
from web.app import create_app

with TestClient(create_app(get_settings())) as client:
    answers = {path: client.get(path).status_code for path in ("/healthz", "/readyz")}
served = set(sys.modules)
imported = set()
for path in sorted(Path("web").rglob("*.py")):
    if path == Path("web/reconstruct.py"):
        continue
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
for name in imported:
    importlib.import_module(name)
heavy = {"torch", "scipy", "PIL", "ai_edge_litert", "safetensors"}
print(json.dumps({
    "answers": answers,
    "served with": sorted(heavy & served),
    "imports": sorted(heavy & set(sys.modules)),
    "modules": len(imported),
}))
"""


def test_the_job_api_imports_no_torch(server_stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env={**os.environ, "FACE3D_ENV_FILE": str(server_stack.layout.env_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["answers"] == {"/healthz": 200, "/readyz": 200}
    assert found["served with"] == []
    assert found["imports"] == []
    assert found["modules"] > 50
