"""The model directory: downloaded at the pinned revision, or copied from the operator's own."""

import shutil
from pathlib import Path

from face3d.errors import ConfigurationError
from gpu_workers.engines.hrn.files import MODEL_ID, MODEL_REVISION


def download_model(target: Path) -> None:
    """Download the model into a folder; what is there already and unchanged is not fetched again.

    Needs ModelScope: `check_environment` says whether it is there.

    Raises:
        ConfigurationError: the hub did not give it.
    """
    from modelscope.hub.snapshot_download import snapshot_download

    target.mkdir(parents=True, exist_ok=True)
    try:
        snapshot_download(MODEL_ID, revision=MODEL_REVISION, local_dir=str(target))
    except Exception as error:
        raise ConfigurationError(
            f"ModelScope's hub did not give {MODEL_ID} at {MODEL_REVISION}: {type(error).__name__}: {error}. "
            "Without a network: face3d models fetch hrn --from DIRECTORY."
        ) from error


def copy_model(source: Path, target: Path) -> None:
    """Copy a model directory.

    Raises:
        ConfigurationError: there is none.
    """
    if not source.is_dir():
        raise ConfigurationError(f"{source} is no directory.")
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True)
