"""The whole state of a training in one safetensors file: tensors, and JSON in its header. No pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from face3d.errors import ConfigurationError

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    path: Path,
    networks: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    state: dict[str, Any],
) -> None:
    """Write a checkpoint, atomically.

    Args:
        networks: name to network.
        optimiser: its per-parameter tensors are kept by the parameter's number.
        generator: of the data.
        state: plain JSON.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {"generator": generator.get_state()}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for number, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{number}/{key}": value for key, value in values.items()}
    host = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(host, str(partial), {"state": json.dumps(state)})
    partial.replace(path)


def load_checkpoint(
    path: Path,
    networks: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Put a checkpoint back into what it was saved from, and return its JSON state.

    Raises:
        ConfigurationError: the file is unreadable, or of another network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, network in networks.items():
            network.load_state_dict(_under(tensors, f"{name}/"))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{path.name} is no checkpoint of this training") from error
    saved = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimiser/").items():
        number, key = name.split("/")
        moments.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})
    _lie_like_parameters(optimiser)
    generator.set_state(tensors["generator"])
    return state


def _lie_like_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Give each moment its parameter's order in memory: fused steps read both as one run of numbers."""
    for parameter, values in optimiser.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
