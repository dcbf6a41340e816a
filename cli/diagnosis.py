"""The examinations behind `face3d doctor`; each yields findings and raises nothing."""

import hashlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cli.probing import BUSY, Finding, Probe, first_line, run_probes
from cli.server_checks import server_probes
from face3d.extras import is_chosen
from face3d.settings import Settings

#: Free space that a stack and a few hundred assets need, bytes.
DISK_BYTES = 3 * 2**30
#: Memory that the local stack with one worker needs, bytes.
MEMORY_BYTES = 4 * 2**30

#: All probes run at once and end by then.
SECONDS = 3.7

#: The whole command's time, from the start of its process.
COMMAND_SECONDS = 4.4

#: What loads machine code: everywhere, and where stages run.
SHARED_LIBRARIES = ("psycopg",)
WORKER_LIBRARIES = ("simplejpeg", "pi_heif", "isal.isal_zlib", "ai_edge_litert.interpreter", "torch")


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings within some seconds, the machine's first, whatever hangs."""
    yield from run_probes([*machine_probes(settings), *server_probes(settings)], seconds=_time_left())


def _time_left() -> float:
    """Return how long probes may take: on a busy machine starting Python took some of the command's time."""
    import psutil

    spent = time.time() - psutil.Process().create_time()
    return min(SECONDS, max(1.0, COMMAND_SECONDS - spent)) if spent < COMMAND_SECONDS else SECONDS


def machine_probes(settings: Settings) -> list[Probe]:
    """Return what looks at this machine and at what is installed; what stages need only where they run."""
    runs_stages = is_chosen("worker")
    libraries = (*SHARED_LIBRARIES, *(WORKER_LIBRARIES if runs_stages else ()))
    found: list[tuple[str, Callable[[], Iterable[Finding]], tuple[str, ...]]] = [
        ("machine", lambda: examine_machine(settings), ()),
        ("libraries", lambda: examine_libraries(libraries), ()),
    ]
    if runs_stages:
        found += [
            ("photo sandbox", lambda: [examine_sandbox(settings)], ("gpu_workers.decoding.client",)),
            ("models", lambda: examine_models(settings), ("gpu_workers.head.model.head_template",)),
            ("engine hrn", lambda: examine_engine_hrn(settings), ("gpu_workers.engines.hrn.files",)),
        ]
    found.append(("local stack", lambda: examine_stack(settings), ("compose.local.lock",)))
    return [
        Probe(subject=subject, examine=examine, remedy=BUSY, late_is_wrong=False, modules=modules)
        for subject, examine, modules in found
    ]


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Yield findings on Python, memory and disk."""
    import psutil

    version = platform.python_version()
    yield Finding(
        subject="Python",
        ok=version.startswith(("3.11.", "3.12.")),
        detail=f"{version} on {platform.machine()}",
        remedy="use Python 3.11 or 3.12",
    )
    memory = psutil.virtual_memory().total
    yield Finding(
        subject="memory",
        # A machine sold with 4 GB shows a little less.
        ok=memory > 0.9 * MEMORY_BYTES,
        detail=f"{memory / 2**30:.1f} GiB",
        remedy=f"{MEMORY_BYTES / 2**30:.0f} GiB are needed",
    )
    folder = _existing(settings.state_dir)
    free = shutil.disk_usage(folder).free
    yield Finding(
        subject="disk",
        ok=free > DISK_BYTES,
        detail=f"{free / 2**30:.1f} GiB free for {settings.state_dir}",
        remedy=f"{DISK_BYTES / 2**30:.0f} GiB are needed: free some, or set FACE3D_STATE_DIR elsewhere",
    )


def examine_libraries(names: Sequence[str]) -> Iterator[Finding]:
    """Yield findings on libraries that load machine code, from a process of its own: it may crash."""
    command = [sys.executable, "-c", _LOAD, *names]
    late = False
    try:
        printed = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS - 0.3).stdout
    except subprocess.TimeoutExpired as expired:
        printed, late = expired.stdout or b"", True
    answers = dict(line.split(" ", 1) for line in printed.decode().splitlines() if " " in line)
    for name in names:
        subject = f"library {name.split('.')[0]}"
        if late and name not in answers:
            yield Finding(
                subject=subject,
                ok=True,
                warning=True,
                detail=f"not loaded within {SECONDS - 0.3:.1f} s",
                remedy="try again when the machine is less busy",
            )
            continue
        answer = answers.get(name, "ends the process")
        yield Finding(subject=subject, ok=answer == "loads", detail=answer, remedy="run `make env`")


#: Prints a line for each library; nothing else may reach standard output.
_LOAD = r"""
import importlib, os, sys
os.nice(19)
out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        out.write(f"{name} loads\n")
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        out.write(f"{name} {text.splitlines()[0]}\n")
"""


def examine_sandbox(settings: Settings) -> Finding:
    """Return what locks up the process that decodes photos; it is started as a worker here would start it."""
    from face3d.errors import EngineUnavailable
    from gpu_workers.decoding.client import decoder_layers
    from gpu_workers.photo_limits import PhotoLimits

    remedy = "use Linux 5.13 or later with Landlock and seccomp, and a container that allows both"
    if settings.decoder_sandbox == "off":
        return Finding(subject="photo sandbox", ok=True, detail="off (FACE3D_DECODER_SANDBOX)")
    try:
        layers = decoder_layers(PhotoLimits.from_settings(settings))
    except EngineUnavailable as error:
        return _wrong("photo sandbox", error.message, remedy)
    # Without files and network, either layer alone keeps a decoder from secrets.
    return Finding(
        subject="photo sandbox",
        ok=layers.seccomp or layers.landlock > 0,
        detail=f"{settings.decoder_sandbox}: {layers.describe()}",
        remedy=remedy,
    )


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the model files of engine anny."""
    from gpu_workers.head.model.head_template import (
        HEAD_DATA_FILE,
        LANDMARK_MODEL_FILE,
        LANDMARK_MODEL_SHA256,
        load_head_data,
    )

    model = settings.landmark_model or settings.model_dir / LANDMARK_MODEL_FILE
    remedy = "run `make env`, which makes it"
    if not model.is_file():
        yield _wrong("landmark model", f"{model} is missing", remedy)
    elif settings.landmark_model:
        yield Finding(subject="landmark model", ok=True, detail=f"{model} (your own)")
    else:
        with model.open("rb") as stream:
            matches = hashlib.file_digest(stream, "sha256").hexdigest() == LANDMARK_MODEL_SHA256
        detail = f"{model}, SHA-256 {'as pinned' if matches else 'differs'}"
        yield Finding(subject="landmark model", ok=matches, detail=detail, remedy=f"delete it and {remedy}")
    path = settings.model_dir / HEAD_DATA_FILE
    yield _attempt(
        "head data",
        lambda: f"{path}, version {load_head_data(settings.model_dir).version}",
        f"delete {settings.model_dir / '.stamp'} and run `make env`",
    )


def examine_engine_hrn(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on engine hrn where somebody means to use it; `face3d models check hrn` says more."""
    from gpu_workers.engines.hrn.files import find_model_folder

    folder = find_model_folder(settings)
    if settings.engine != "hrn" and not folder.is_dir():
        return
    # Loads torch.
    from gpu_workers.engines.hrn.environment import INSTALL, find_missing

    missing = find_missing()
    if missing:
        yield _wrong("engine hrn", f"lacks {', '.join(missing)}", INSTALL)
    elif not folder.is_dir():
        yield _wrong("engine hrn", f"{folder} is missing", "face3d models fetch hrn")
    else:
        yield Finding(subject="engine hrn", ok=True, detail=f"libraries and {folder} are there")


def examine_stack(settings: Settings) -> Iterator[Finding]:
    """Yield whether the local stack runs; that it does not is no fault."""
    from compose.local.lock import find_holder

    running = find_holder(settings.state_dir)
    detail = f"running: {running.url}" if running else "not running"
    yield Finding(subject="local stack", ok=True, detail=detail)


def _attempt(subject: str, ask: Callable[[], str], remedy: str) -> Finding:
    """Return what a question yields, or the first line of what it raises."""
    try:
        return Finding(subject=subject, ok=True, detail=ask())
    except Exception as error:  # Whatever goes wrong is the finding.
        return _wrong(subject, first_line(error), remedy)


def _wrong(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(subject=subject, ok=False, detail=detail, remedy=remedy)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
