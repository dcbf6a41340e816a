"""Who a worker's process is: `Settings.worker` reads it, the launcher writes it for its children."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from face3d.states import STAGES

Pool = Literal["prefork", "threads"]


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """One Celery worker, as whoever starts it describes it to its processes."""

    #: Celery's node name, `<what>@<host>`.
    name: str
    gpu_type: str = "cpu"
    #: `cpu` or `cuda:<index>`.
    device: str = "cpu"
    #: Names of the stages that it serves, or that of the delivery queue.
    stages: tuple[str, ...] = ()
    #: Tasks at once.
    slots: int = 1
    pool: Pool = "prefork"
    #: Its part of the device's memory, up to 1.
    memory_share: float = 1.0
    #: Where its processes note what they do (gpu_workers/watch.py); None: no launcher looks.
    watch_dir: Path | None = None

    @property
    def has_threads(self) -> bool:
        """Whether its tasks are threads of one process, which then does the worker's warm-up."""
        return self.pool == "threads"

    @property
    def serves_stages(self) -> bool:
        """Whether it works on photos."""
        return not set(STAGES).isdisjoint(self.stages)

    def environment(self) -> dict[str, str]:
        """Return the settings by which its processes know all this."""
        told = {
            "FACE3D_WORKER_NAME": self.name,
            "FACE3D_GPU_TYPE": self.gpu_type,
            "FACE3D_DEVICE": self.device,
            "FACE3D_STAGES": ",".join(self.stages),
            "FACE3D_SLOTS": str(self.slots),
            "FACE3D_POOL": self.pool,
            "FACE3D_MEMORY_SHARE": str(self.memory_share),
        }
        return told if self.watch_dir is None else {**told, "FACE3D_WATCH_DIR": str(self.watch_dir)}
