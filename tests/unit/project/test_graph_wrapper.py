"""CUDA graphs, page-locked memory and the process's settings have one place each; no module keeps tensors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("gpu_workers", "tasks", "web", "assets", "bench", "cli", "capacity", "compose")
RUNTIME = "gpu_workers/head/runtime"

#: What is called to the only files that may call it.
PLACES = {
    "CUDAGraph": {f"{RUNTIME}/cuda_graphs.py"},
    "graph": {f"{RUNTIME}/cuda_graphs.py"},
    "graph_pool_handle": {f"{RUNTIME}/cuda_graphs.py"},
    "CapturedCall": {f"{RUNTIME}/cuda_graphs.py"},
    "capture": {f"{RUNTIME}/graphed_function.py"},
    "pin_memory": {f"{RUNTIME}/host_transfer.py"},
    "setswitchinterval": {"gpu_workers/process_settings.py"},
    "freeze": {"gpu_workers/process_settings.py"},
    # The runtime for the time of a stage; the training's measurement in processes of its own.
    "set_num_threads": {
        "gpu_workers/process_settings.py",
        f"{RUNTIME}/device_runtime.py",
        "gpu_workers/training/measure_landmarks.py",
    },
}
#: Modules whose functions of the same names are other things.
OTHER = {"graph": "torch.cuda", "freeze": "gc", "capture": "self._pool"}


def _calls() -> Iterator[tuple[str, str, str]]:
    """Yield (file, name of what is called or of a keyword of the call, what it is an attribute of)."""
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    if isinstance(node.func, ast.Attribute):
                        yield name, node.func.attr, ast.unparse(node.func.value)
                    elif isinstance(node.func, ast.Name):
                        yield name, node.func.id, ""
                    yield from ((name, keyword.arg, "") for keyword in node.keywords if keyword.arg)


CALLS = list(_calls())


@pytest.mark.parametrize("called", sorted(PLACES))
def test_each_is_called_in_its_place_only(called: str) -> None:
    found = {file for file, name, owner in CALLS if name == called and owner == OTHER.get(called, owner)}
    assert found == PLACES[called]


def test_nothing_is_looked_up_by_an_objects_address() -> None:
    assert not {file for file, name, owner in CALLS if name == "id" and not owner and "gpu_workers" in file}


def test_no_module_of_the_head_keeps_what_it_made() -> None:
    """Small constants that a graph reads are `graph_constant`s; all else belongs to an engine's objects."""
    kept = set()
    for path in sorted((ROOT / "gpu_workers/head").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
                if names & {"cache", "lru_cache", "functools.cache", "functools.lru_cache"}:
                    kept.add(f"{path.name}:{node.name}")
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                value = ast.unparse(statement.value)
                if value in ("{}", "[]", "OrderedDict()") or value.startswith(
                    ("GraphPool(", "DeviceRuntime(")
                ):
                    kept.add(f"{path.name}:{ast.unparse(statement)}")
    # A function of torchvision, where it is installed; a colour transform of Pillow's.
    assert kept == {"host_transfer.py:_find_jpeg_encoder", "face_patch.py:_lab_transform"}
