"""The face network: a square crop of a face to 628 points with depth, and how sure it is of each.

A small ResNet, trained only on rendered heads (gpu_workers/training, docs/how-to/training.md). It
answers with a Gaussian over all coordinates at once: mean, a deviation of each point in the picture and in
depth, and a correlation of low rank, for the errors of neighbouring points are hardly independent: a jaw seen
too wide is too wide as a whole. Points rather than shape coefficients, so that neither a change of the basis
nor of the fit's priors asks for new training, and shapes outside the basis are not forced into it; the fit
weighs points by the inverse covariance (normal_equations.py; `FaceEstimate.solve` is the reference).

Correlation. With deviations s (N,), loadings A (N, R) and p = 1 / (1 + |A_n|^2), N = 3 K coordinates,

    covariance = S (P + P^1/2 A A^T P^1/2) S,   S = diag(s), P = diag(p)

has exactly the variances s^2. A = W diag(g): modes W are the network's constants, strengths g the photo's.

Frame of points: x right and y down in half sides of the crop about its middle (so -1..1), z away from the
camera in the same unit at the face's mean depth, about the mean depth of the skin's landmarks.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from face3d.errors import EngineUnavailable

#: The trained network, part of the package (docs/how-to/training.md); the number changes whenever the plan or
#: the points do.
FACE_NETWORK_FILE = "face_network_v1.safetensors"
FACE_NETWORK = Path(__file__).parent / "data" / FACE_NETWORK_FILE
FACE_NETWORK_SHA256 = "54b690932c0e84287bd36d0dbf70b6e78f66ad3eb48c7dc15b78377464905b6e"
#: Range of the logarithm of deviations, half sides of the crop: 0.25 % to 160 %.
_LOG_DEVIATION = (-6.0, 0.5)
#: Mean and spread of sRGB values 0..1, to start from.
_MEAN, _SPREAD = 0.45, 0.25
#: Before training: size of the modes and of the last weights, and what makes deviations of about 14 % of half
#: a side.
_FIRST_MODES, _FIRST_WEIGHTS, _DEVIATION_SHIFT = 0.1, 0.01, 0.8


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """Sizes of a network; the default has 11.7 M parameters."""

    #: Pixels a side of the crop.
    input_size: int = 192
    #: Channels and residual blocks of the four stages, at 1/4 to 1/32 of the crop's size.
    widths: tuple[int, ...] = (64, 128, 256, 384)
    depths: tuple[int, ...] = (2, 3, 3, 2)
    #: Channels of the last map, place by place; and of the layer between it and the points.
    reduced: int = 32
    hidden: int = 512
    points: int = 628
    #: Modes of correlated error.
    rank: int = 16

    @classmethod
    def from_json(cls, text: str) -> "NetworkPlan":
        """Return the plan that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["widths"], values["depths"] = tuple(values["widths"]), tuple(values["depths"])
        return cls(**values)

    def to_json(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class FaceEstimate:
    """What the network says of B crops of K points; unit: half sides of the crop."""

    #: (B, K, 3)
    points: Tensor
    #: (B, K, 2) logarithm of the standard deviation: of x and of y, and of z.
    log_deviation: Tensor
    #: (B, 3 K, R) loadings A of the correlation; coordinates point by point, x, y, z.
    loadings: Tensor

    @property
    def deviation(self) -> Tensor:
        """(B, K, 3) standard deviation of x, y, z."""
        spread = self.log_deviation.exp()
        return torch.cat([spread[..., :1], spread], -1)

    def whiten(self, error: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the covariance makes of errors (B, K, 3): the Mahalanobis length of each.

        Returns:
            squared length (B,) and logarithm of the covariance's determinant (B,).
        Source: Woodbury's identity and the matrix determinant lemma.
        """
        deviation = self.deviation.flatten(1)
        length, log_determinant = correlated_length(error.flatten(1) / deviation, self.loadings)
        return length, log_determinant + 2 * deviation.log().sum(1)

    def solve(self, columns: Tensor) -> Tensor:
        """Return the inverse covariance times columns (B, 3 K, M): weights for a least-squares fit.

        With a Jacobian J of the points (coordinates point by point) and errors e, J^T solve(J) and
        J^T solve(e) are the normal equations.
        """
        own = (1 + (self.loadings**2).sum(-1, keepdim=True)).sqrt() / self.deviation.flatten(1)[..., None]
        scaled = own * columns
        factor = _small_factor(self.loadings)
        inner = torch.cholesky_solve(self.loadings.mT @ scaled, factor)
        return own * (scaled - self.loadings @ inner)


def _small_factor(loadings: Tensor) -> Tensor:
    """Return the Cholesky factor (B, R, R) of I + A^T A."""
    identity = torch.eye(loadings.shape[-1], device=loadings.device)
    # The variant that does not look for errors, which would wait for the device.
    factor: Tensor = torch.linalg.cholesky_ex(identity + loadings.mT @ loadings, check_errors=False).L
    return factor


def correlated_length(standard: Tensor, loadings: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared length (B,) and log determinant (B,) under the correlation (module's docstring).

    Args:
        standard: (B, N) errors over their deviations.
        loadings: (B, N, R).
    """
    own = 1 + (loadings**2).sum(-1)
    scaled = standard * own.sqrt()
    factor = _small_factor(loadings)
    inner = torch.linalg.solve_triangular(factor, loadings.mT @ scaled[..., None], upper=False)[..., 0]
    log_determinant = 2 * torch.diagonal(factor, dim1=1, dim2=2).log().sum(1) - own.log().sum(1)
    return (scaled**2).sum(1) - (inner**2).sum(1), log_determinant


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a way past them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.past = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            if stride > 1 or before != after
            else nn.Identity()
        )
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        # A block begins as its way past: deep networks learn from the start.
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.past(x))


class FaceNetwork(nn.Module):
    """The network. `forward` is for training, `predict` for use.

    Args:
        plan: its sizes.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        first = plan.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 7, 2, 3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks = []
        before = first
        for stage, (width, depth) in enumerate(zip(plan.widths, plan.depths, strict=True)):
            for number in range(depth):
                blocks.append(_Block(before, width, 2 if stage and not number else 1))
                before = width
        self.body = nn.Sequential(*blocks)
        self.reduce = nn.Sequential(
            nn.Conv2d(before, plan.reduced, 1, bias=False), nn.BatchNorm2d(plan.reduced), nn.ReLU()
        )
        cells = math.ceil(plan.input_size / 2 ** (len(plan.widths) + 1)) ** 2
        self.hidden = nn.Linear(plan.reduced * cells + before, plan.hidden)
        self.answer = nn.Linear(plan.hidden, 5 * plan.points + plan.rank)
        self.modes = nn.Parameter(torch.randn(3 * plan.points, plan.rank) * _FIRST_MODES)
        nn.init.normal_(self.answer.weight, std=_FIRST_WEIGHTS)
        nn.init.zeros_(self.answer.bias)

    def forward(self, crops: Tensor) -> FaceEstimate:
        """Return the estimate of crops (B, 3, S, S), sRGB 0..1; features may run in half precision."""
        maps = self.body(self.stem((crops - _MEAN) / _SPREAD))
        features = torch.cat([self.reduce(maps).flatten(1), maps.mean((2, 3))], 1)
        with torch.autocast(features.device.type, enabled=False):
            return self._answer(features.float())

    def _answer(self, features: Tensor) -> FaceEstimate:
        plan = self.plan
        raw = self.answer(torch.relu(self.hidden(features)))
        points, spread, strength = raw.split([3 * plan.points, 2 * plan.points, plan.rank], 1)
        low, high = _LOG_DEVIATION
        log_deviation = low + (high - low) * torch.sigmoid(spread + _DEVIATION_SHIFT)
        return FaceEstimate(
            points=points.view(-1, plan.points, 3),
            log_deviation=log_deviation.view(-1, plan.points, 2),
            loadings=self.modes * strength.clamp(-4, 4).exp()[:, None],
        )

    @torch.inference_mode()
    def predict(self, crops: Tensor) -> FaceEstimate:
        """Return the estimate of crops.

        Args:
            crops: (B, S, S, 3) uint8 sRGB on the network's device, S the plan's input size.
        Raises:
            ValueError: crops of another size.
        """
        size = self.plan.input_size
        if crops.shape[1:] != (size, size, 3):
            raise ValueError(f"crops of shape {tuple(crops.shape)}, expected (B, {size}, {size}, 3)")
        planes = crops.permute(0, 3, 1, 2).float() / 255
        estimate: FaceEstimate = self(planes.contiguous(memory_format=torch.channels_last))
        return estimate


def fold_norms(network: FaceNetwork) -> None:
    """Put each normalisation into the convolution before it: the same answers in less time. Not to train."""
    for start in (network.stem, network.reduce):
        start[0], start[1] = _fold(start[0], start[1]), nn.Identity()
    for block in network.body:
        block.first, block.first_norm = _fold(block.first, block.first_norm), nn.Identity()
        block.second, block.second_norm = _fold(block.second, block.second_norm), nn.Identity()
        if isinstance(block.past, nn.Sequential):
            block.past = _fold(block.past[0], block.past[1])


def _fold(layer: object, norm: object) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, layer), cast(nn.BatchNorm2d, norm))


def use_channels_last(network: nn.Module) -> None:
    """Store convolutions the way that CPUs and tensor cores read them; values stay."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def save_face_network(network: FaceNetwork, path: Path, facts: dict[str, object]) -> str:
    """Write the network in half precision, atomically, and return the file's SHA-256.

    Args:
        facts: what else to say of it (training, errors); plain JSON.
    """
    from safetensors.torch import save_file

    tensors = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, str(partial), {"plan": network.plan.to_json(), "facts": json.dumps(facts)})
    partial.chmod(0o644)
    partial.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_face_network(
    path: Path, sha256: str | None = None, device: torch.device | None = None, *, trainable: bool = False
) -> FaceNetwork:
    """Return a network ready for `predict`.

    Args:
        path: a file that `save_face_network` wrote.
        sha256: what the file must have; None trusts it.
        device: where it runs; the CPU by default.
        trainable: keep the normalisations, to go on training.
    Raises:
        EngineUnavailable: the file is missing, another one, or unreadable.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise EngineUnavailable(f"{path.name} is missing")
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise EngineUnavailable(f"{path.name} is not the file that was expected (SHA-256)")
    try:
        with safe_open(str(path), framework="pt") as file:
            plan = NetworkPlan.from_json((file.metadata() or {})["plan"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        network = FaceNetwork(plan)
        network.load_state_dict(tensors, strict=False)
        if missing := set(dict(network.named_parameters())) - set(tensors):
            raise KeyError(missing)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise EngineUnavailable(f"{path.name} cannot be read") from error
    network = network.to(device or torch.device("cpu")).eval()
    if not trainable:
        fold_norms(network)
    use_channels_last(network)
    return network
