"""Profiles: how work runs on each GPU type unless the job says otherwise.

`input-size`, `sharpen` and `compile` are options of a job; what it states wins over the profile. The rest is
the worker's own. Sources: three jobs at once on an A100, the reserve of an A800, the T4 that runs out of
memory with two jobs, and compiling that pays on a V100 are claims of the product that the design compares
itself with (docs/design.md, section 8); the memory of the other cards gives the rest.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from face3d.options import CompileMode, InputSize, JobOptions
from face3d.states import StageName

#: What a CUDA context and loaded kernels take of a card before any work, MB.
CONTEXT_MB = 700.0

#: The lightest input of the options.
_LIGHT_INPUT: InputSize = 960


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How a GPU type works."""

    #: Jobs at once that are known to be safe; the memory budget may allow fewer.
    jobs: int
    #: Share of the memory that stays free.
    reserve: float = 0.05
    #: Of float32 products: the fit's accuracy (0.05 mm) leaves no room for less on any type.
    precision: Literal["fp32", "tf32"] = "fp32"
    #: `reduce-overhead` and `max-autotune` include CUDA graphs, whose pools keep memory; `off` has none.
    compile: CompileMode = "reduce-overhead"
    #: Whether cuDNN tries its algorithms first: pays where shapes repeat, and takes workspace.
    cudnn_benchmark: bool = True
    #: Longest side of the photo, pixels.
    input_size: InputSize = 1280
    sharpen: bool = True


_PROFILES: dict[str, Profile] = {
    "a100": Profile(jobs=3),
    "a800": Profile(jobs=3, reserve=0.10),
    "h100": Profile(jobs=4),
    "h200": Profile(jobs=4),
    "l40s": Profile(jobs=2),
    "l4": Profile(jobs=1, reserve=0.10),
    "v100": Profile(jobs=2, reserve=0.10, input_size=_LIGHT_INPUT, sharpen=False),
    "t4": Profile(
        jobs=1,
        reserve=0.15,
        compile="off",
        cudnn_benchmark=False,
        input_size=_LIGHT_INPUT,
        sharpen=False,
    ),
    "cpu": Profile(jobs=1, compile="off", cudnn_benchmark=False),
}


def profile_of(gpu_type: str) -> Profile:
    """Return a type's profile; a name without one gets the CPU's, which assumes nothing."""
    return _PROFILES.get(gpu_type, _PROFILES["cpu"])


def effective_options(options: JobOptions, stated: Sequence[str], profile: Profile) -> JobOptions:
    """Return the options as they run: the profile fills in what the caller did not state."""
    changes: dict[str, Any] = {}
    if "input-size" not in stated and options.input_size > profile.input_size:
        changes["input_size"] = profile.input_size
    if "sharpen" not in stated and not profile.sharpen:
        changes["sharpen"] = False
    if options.compile == "auto":
        changes["compile"] = profile.compile
    return options.model_copy(update=changes) if changes else options


def lighter_options(options: JobOptions, stated: Sequence[str]) -> Iterator[JobOptions]:
    """Yield ever lighter options for a device without enough memory; the texture size never shrinks."""
    if options.compile != "off":
        options = options.model_copy(update={"compile": "off"})
        yield options
    if "sharpen" not in stated and options.sharpen:
        options = options.model_copy(update={"sharpen": False})
        yield options
    if "input-size" not in stated and options.input_size > _LIGHT_INPUT:
        yield options.model_copy(update={"input_size": _LIGHT_INPUT})


#: Activations of its networks, the largest of which sees 512 x 512 pixels: assumed, never measured on a card.
_HRN_GEOMETRY_MB = 1500.0


def expected_peak_mb(stage: StageName, engine: str, texture_size: int) -> float:
    """Return the device memory that one job of a stage is assumed to need, MB, before it was measured here.

    The bars of docs/design.md: 1,500 MB at 4096^2 for a whole job, most of it the texture's texels.
    """
    if engine == "null":
        return 1.0
    if stage is StageName.GEOMETRY:
        return _HRN_GEOMETRY_MB if engine == "hrn" else 300.0
    return 300.0 + 1200.0 * (texture_size / 4096) ** 2


def memory_budget_mb(total_mb: float, profile: Profile) -> float:
    """Return what the jobs of a card may take together, MB."""
    return max(0.0, total_mb * (1.0 - profile.reserve) - CONTEXT_MB)


def jobs_at_once(total_mb: float, profile: Profile) -> int:
    """Return how many whole jobs at 4096^2 a card takes at once: what is known to be safe, and what fits."""
    need = expected_peak_mb(StageName.TEXTURE, "anny", 4096)
    return max(1, min(profile.jobs, int(memory_budget_mb(total_mb, profile) // need)))


def apply_profile(profile: Profile) -> None:
    """Set torch's process-wide switches; without torch there is nothing to set."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.backends.cudnn.benchmark = profile.cudnn_benchmark
    torch.set_float32_matmul_precision("high" if profile.precision == "tf32" else "highest")
