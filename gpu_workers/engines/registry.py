"""Engines by name, built once a process; an engine's libraries load when it is first asked for."""

import threading

from face3d.errors import ConfigurationError, EngineUnavailable
from face3d.settings import Settings
from gpu_workers.engines.base import Engine

_engines: dict[tuple[str, ...], Engine] = {}
_lock = threading.Lock()


def load_engine(name: str, settings: Settings, device: str) -> Engine:
    """Return the process's engine of that name on a device, warmed up.

    Args:
        name: anny, hrn or null.
        settings: names the folder of model files.
        device: as torch names it: cpu, cuda:0.
    Raises:
        EngineUnavailable: it cannot run here (model files, libraries or device missing).
        ConfigurationError: there is no engine of that name.
    """
    key = (name, str(settings.model_dir), str(settings.hrn_model_dir), device)
    with _lock:
        if key not in _engines:
            engine = _build_engine(name, settings, device)
            engine.warm_up()
            _engines[key] = engine
        return _engines[key]


def _build_engine(name: str, settings: Settings, device: str) -> Engine:
    match name:
        case "null":
            from gpu_workers.engines.null.engine import NullEngine

            return NullEngine()
        case "anny":
            try:
                from gpu_workers.engines.anny.engine import AnnyEngine
            except ImportError as error:
                raise EngineUnavailable("Engine anny needs extra worker, which is not installed.") from error
            return AnnyEngine(settings.model_dir, settings.landmark_model, device)
        case "hrn":
            from gpu_workers.engines.hrn.environment import check_environment
            from gpu_workers.engines.hrn.files import find_model_folder

            # Before the engine's own imports: what is missing is said by name.
            check_environment()
            from gpu_workers.engines.hrn.engine import HrnEngine

            return HrnEngine(
                settings.model_dir,
                find_model_folder(settings),
                settings.landmark_model,
                device,
                texture_steps=settings.hrn_texture_steps,
            )
    raise ConfigurationError(f"There is no engine {name!r}: anny, hrn or null.")
