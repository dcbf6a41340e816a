"""What the fit knows before it sees a photo: the shapes at the face's points, priors, bounds, error model."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.head.fitting.landmark_noise import LandmarkErrors, assumed_errors, pose_features
from gpu_workers.head.fitting.surface_samples import ViewSurface
from gpu_workers.head.model.dense_landmarks import choose_face_points
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS, SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import head_angles

#: Precision of state and solves, and of the large products between them.
DTYPE = torch.float64
WORK = torch.float32

#: Standard deviations of the coefficients: the fit's prior; the expression's is in landmark_noise.py.
_IDENTITY_SD = 1.0
_LOCAL_SD = 0.2
_PAIR_SD = 0.08

#: Shapes that landmarks cannot see, or that only correct another one.
_FIXED_ACTIONS = ("tongueOut", "mouthClose", "cheekPuff", "jawForward")


class FitBasis:
    """The head data at the face's points and the errors of the landmarks among them, on one device.

    Points are those of dense_landmarks.py: K of them, the landmarks first.

    Args:
        errors: the assumed ones when None.
    """

    def __init__(self, data: HeadData, device: torch.device, errors: LandmarkErrors | None = None) -> None:
        columns = np.concatenate([data.identity, data.local_changes, data.actions])
        places = choose_face_points(data)

        def at_points(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
            weights = places.weights[..., None].astype(np.float64)
            picked = values[..., places.vertices, :].astype(np.float64) * weights
            return torch.from_numpy(picked.sum(-2)).to(device)

        self.device = device
        self._data = data
        self.identity_count = len(data.identity)
        self.local_count = len(data.local_changes)
        self.base = at_points(data.positions)
        self.columns = at_points(columns)
        #: (K, 3, N)
        self.columns_by_point = self.columns.permute(1, 2, 0).contiguous().to(WORK)
        errors = errors or assumed_errors(data.landmark_trust, data.score_baseline)
        self.errors = errors.to(device, DTYPE)
        #: What is known to be nothing is not computed: a GPU's graph is made of hundreds of small steps.
        self.is_biased, self.errs_in_common = bool(errors.bias.any()), bool(errors.factor.any())
        pairs = torch.from_numpy(data.local_change_pairs.astype(np.int64)) + self.identity_count
        self.pairs = pairs.to(device)

    @cached_property
    def surface(self) -> ViewSurface:
        """The skin where two photos of a person are compared."""
        return ViewSurface(self._data, self.device)

    @cached_property
    def deviation(self) -> Tensor:
        """Standard deviation (1434,) of the detector's errors that have nothing in common, eye distances."""
        return self.errors.spread.sqrt()

    @cached_property
    def expected_miss(self) -> Tensor:
        """How far each landmark (478,) errs in the picture, root mean square, eye distances."""
        variance = self.errors.spread + (self.errors.factor**2).sum(1)
        return variance.reshape(LANDMARKS, 3)[:, :2].sum(1).sqrt()

    @cached_property
    def common(self) -> Tensor:
        """(R, 1434) what of residuals over `deviation` is the detector's common error, by Woodbury.

        The inverse covariance is I - C^T C in these units, with C this matrix: with F the factor over the
        deviation, S = I + F F^T and S^-1 = I - F (I + F^T F)^-1 F^T.
        """
        factor = self.errors.factor / self.deviation[:, None]
        small = torch.eye(factor.shape[1], dtype=DTYPE, device=self.device) + factor.T @ factor
        lower = torch.linalg.cholesky(small)
        common: Tensor = torch.linalg.solve_triangular(lower, factor.T, upper=False).to(WORK)
        return common

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self.columns)

    @property
    def expression(self) -> slice:
        """Where the 52 expression coefficients stand."""
        return slice(self.identity_count + self.local_count, self.size)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (N,) of the coefficients."""
        low = torch.zeros(self.size, dtype=DTYPE)
        high = torch.ones(self.size, dtype=DTYPE)
        low[: self.identity_count], high[: self.identity_count] = -3, 3
        for name in _FIXED_ACTIONS:
            high[self.expression.start + ARKIT_NAMES.index(name)] = 0
        return low.to(self.device), high.to(self.device)

    @cached_property
    def prior(self) -> Tensor:
        """The quadratic form (N, N) of the priors."""
        deviations = torch.full((self.size,), _LOCAL_SD, dtype=DTYPE, device=self.device)
        deviations[: self.identity_count] = _IDENTITY_SD
        deviations[self.expression] = self.errors.expression_spread
        form = torch.diag(deviations**-2)
        left, right = self.pairs.T
        weight = torch.full(left.shape, _PAIR_SD**-2, dtype=DTYPE, device=self.device)
        for i, j, sign in ((left, left, 1), (right, right, 1), (left, right, -1), (right, left, -1)):
            form.index_put_((i, j), sign * weight, accumulate=True)
        return form

    def points(self, coefficients: Tensor) -> Tensor:
        """Return the points' places (B, K, 3) in metres, the 478 landmarks first."""
        return self.base + torch.einsum("bn,nlc->blc", coefficients, self.columns)

    def expressive_skin(self, expression: Tensor) -> Tensor:
        """Return the skin's landmarks (B, 468, 3) in metres of the template with an expression (B, 52)."""
        moves = (expression @ self._skin_actions).view(-1, SKIN_LANDMARKS, 3)
        return self.base[:SKIN_LANDMARKS] + moves

    @cached_property
    def _skin_actions(self) -> Tensor:
        return self.columns[self.expression, :SKIN_LANDMARKS].flatten(1).contiguous()

    def bias(self, rotation: Tensor) -> Tensor:
        """Return the detector's mean error (B, 478, 3) at rotations (B, 3, 3), eye distances."""
        if not self.is_biased:
            return torch.zeros(len(rotation), LANDMARKS, 3, dtype=DTYPE, device=self.device)
        yaw, pitch, _ = head_angles(rotation)
        return torch.einsum("bf,flc->blc", pose_features(yaw, pitch), self.errors.bias)

    def expression_target(self, scores: Tensor) -> Tensor:
        """Return the expression (B, 52) that the detector's scores predict."""
        ones = torch.ones_like(scores[:, :1])
        low, high = self.bounds
        expected = torch.cat([scores, ones], dim=1) @ self.errors.expression
        return expected.clamp(low[self.expression], high[self.expression])
