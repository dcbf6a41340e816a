"""Engine `anny`: the parametric head by itself, behind the contract of gpu_workers/engines/base.py."""

from gpu_workers.head.stages.parametric_engine import ParametricEngine


class AnnyEngine(ParametricEngine):
    """The embedded engine: no downloads at run time, permissive data, CPU or CUDA."""

    name = "anny"
    version = "1"
