"""The pipeline's way from a photo to a textured face, cut where the stages meet; nothing is kept in between.

The order of operations is that of ModelScope's `predict_base`, `predict_results_base`, `forward` and
`save_results_hrn`, of which pictures, frames, loops over normals and the second run of the detail networks
are left out. A test compares the result with the pipeline's own call.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from face3d.errors import ErrorCode, RefusedError
from face3d.stage_results import FittedFront, PreprocessedPhoto
from gpu_workers.engines.hrn.loading import on_device
from gpu_workers.engines.hrn.texture_fit import fit_texture

FloatArray = NDArray[np.float32]

#: Of the 106 landmarks: eyes, tip of the nose, corners of the mouth.
_FIVE_POINTS = [74, 83, 54, 84, 90]
#: Pixels a side of the sharper crop.
_CROP = 512
#: Longer photos are reduced for the detectors, as the pipeline does.
_LONG_SIDE, _REDUCED_SIDE = 2000, 1500
#: From the camera's space to the world's: the camera stands so far in front of the face.
CAMERA_DISTANCE = 10.0
#: `align_img`'s: pixels of the small crop to the unit of the mean landmarks.
_RESCALE = 102.0
#: Pixels of the small crop.
FOCAL, CENTRE = 1015.0, 112.0


@dataclass(frozen=True, kw_only=True)
class FaceCrops:
    """The face cut out of a photo as the pipeline wants it."""

    #: (1, 3, 224, 224) and (1, 3, 512, 512) RGB, 0..1.
    small: FloatArray
    large: FloatArray
    #: (1, 1, 224, 224) coverage of the face, 0..1.
    mask: FloatArray
    #: (1, 3, 224, 224) the small one with the face's contour a little widened: its texture is fitted to it.
    widened: FloatArray
    #: (68, 2) pixels of the photo.
    landmarks: FloatArray
    #: (4,) factors of x and y, then shifts: from pixels of the small crop to those of the photo.
    to_photo: FloatArray


@dataclass(frozen=True, kw_only=True)
class HrnPhoto(PreprocessedPhoto):
    """A photo with the crops that the pipeline's networks see."""

    crops: FaceCrops


class FrontReconstruction:
    """The pipeline on one device; its methods may be called from several threads."""

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        self.pipeline = pipeline
        self.model = pipeline.model
        self.device = device

    @property
    def faces(self) -> NDArray[np.int32]:
        """(70789, 3) triangles of the front."""
        return self.model.facemodel_front.face_buf.cpu().numpy().astype(np.int32)  # type: ignore[no-any-return]

    @property
    def uvs(self) -> FloatArray:
        """(35709, 2) places in the texture, v up."""
        return self.model.bfm_UVs.cpu().numpy().astype(np.float32)  # type: ignore[no-any-return]

    @property
    def mean_shape(self) -> NDArray[np.float64]:
        """(35709, 3) the model's mean face."""
        shape = self.model.facemodel_front.mean_shape.reshape(-1, 3)
        return np.asarray(shape.cpu().numpy(), np.float64)

    @property
    def keypoints(self) -> NDArray[np.int64]:
        """(68,) vertices of the 68 landmarks."""
        return self.model.facemodel_front.keypoints.cpu().numpy()  # type: ignore[no-any-return]

    def warm_up(self) -> None:
        """Let the pipeline compile what it compiles when it is first used (numba, 2.5 s)."""
        from modelscope.models.cv.face_reconstruction.utils import image_warp_grid1

        flow = np.zeros((8, 8, 2), np.float32)
        image_warp_grid1(flow[..., 0], flow[..., 1], np.zeros((8, 8, 3), np.uint8), 1.0, [0, 0, 0, 0])

    @torch.no_grad()
    def crop(self, photo: NDArray[np.uint8]) -> FaceCrops:
        """Find and cut out the face of a photo (H, W, 3) sRGB.

        Raises:
            RefusedError: one of its detectors sees no face.
        """
        from modelscope.models.cv.face_reconstruction.utils import resize_on_long_side

        picture = np.ascontiguousarray(photo[..., ::-1])
        if max(picture.shape[:2]) > _LONG_SIDE:
            picture, _ = resize_on_long_side(picture, _REDUCED_SIDE)
        with on_device(self.device):
            _, found = self.pipeline.infer_lmks(picture)
            if not found:
                raise _no_face("first detection")
            five = np.array([found[0][row] for row in _FIVE_POINTS])
            landmarks = self._find_landmarks(picture, five)
            small, _, large, _, mask = self.pipeline.read_data(
                picture, landmarks.copy(), self.pipeline.lm3d_std, image_res=_CROP
            )
            try:
                widened = self.pipeline.get_img_for_texture(small)
            except IndexError as error:  # It takes the first of no faces.
                raise _no_face("third detection, in the crop,") from error
        to_picture = self._crop_to_picture(landmarks, picture.shape[1], picture.shape[0])
        scale = np.array(photo.shape[1::-1]) / np.array(picture.shape[1::-1])
        return FaceCrops(
            small=small.numpy(),
            large=large.numpy(),
            mask=mask.numpy(),
            widened=widened.cpu().numpy(),
            landmarks=(landmarks * scale).astype(np.float32),
            to_photo=np.concatenate([to_picture[:2] * scale, to_picture[2:] * scale]).astype(np.float32),
        )

    def _crop_to_picture(
        self, landmarks: NDArray[np.float64], width: int, height: int
    ) -> NDArray[np.float64]:
        """Return (4,) factors and shifts from the small crop to the picture, which `align_img` hides."""
        from modelscope.models.cv.face_reconstruction.utils import POS, extract_5p

        upright = landmarks.copy()
        upright[:, 1] = height - 1 - upright[:, 1]
        shift, scale = POS(extract_5p(upright).transpose(), self.pipeline.lm3d_std.transpose())
        scale, (across, up) = _RESCALE / scale, shift.squeeze()
        wide, high = int(width * scale), int(height * scale)
        left = int(wide / 2 - CENTRE + (across - width / 2) * scale)
        top = int(high / 2 - CENTRE + (height / 2 - up) * scale)
        factors = np.array([width / wide, height / high])
        return np.concatenate([factors, factors * [left, top]])

    def _find_landmarks(self, picture: NDArray[np.uint8], five: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            landmarks = self.pipeline.prepare_data(picture, self.pipeline.lm_sess, five_points=five)
        except TypeError as error:  # It subscripts the None of a detector that saw nothing.
            raise _no_face("second detection, of 68 landmarks,") from error
        if landmarks is None:
            raise _no_face("crop")
        return np.asarray(landmarks, np.float64)

    @torch.no_grad()
    def fit(self, crops: FaceCrops) -> FittedFront:
        """Find coefficients and details, and the vertices that they make."""
        model, face = self.model, self.model.facemodel_front
        small, large, mask = (self._send(array) for array in (crops.small, crops.large, crops.mask))
        with on_device(self.device):
            coefficients = model.net_recon(small)
            vertex, albedo, _, _, _, position = face.compute_for_render(coefficients)
            colours = face.get_texture_map(vertex, large).permute(0, 3, 1, 2)
            colours = (colours - 0.5) * 2
            albedo = model.de_retouching_module.run(albedo, colours)
            valid = face.get_texture_map(vertex, mask).permute(0, 3, 1, 2)
            valid = model.smooth_valid_mask(valid)

            middle = torch.cat([_resize(position, 64), _resize(colours, 64)], dim=1)
            deformation = model.mid_net(middle) * 0.1 * model.alpha * _resize(valid, 64)
            offsets = _resize(deformation, 256)
            deformation = deformation.permute(0, 2, 3, 1)
            vertex = self._place(coefficients, deformation)
            colours = face.get_texture_map(vertex, large).permute(0, 3, 1, 2)
            colours = (colours - 0.5) * 2
            high = torch.cat([_resize(position, 256), colours, offsets], dim=1)
            displacement = model.high_net(high) * 0.1 * model.beta * valid
            neutral = self.shape(coefficients, deformation, expression=torch.zeros(1, 64, device=self.device))
        return FittedFront(
            coefficients=coefficients.cpu().numpy(),
            deformation=deformation.contiguous().cpu().numpy(),
            displacement=displacement.cpu().numpy(),
            albedo=albedo.cpu().numpy(),
            vertices=_to_world(vertex),
            neutral=neutral[0].cpu().numpy(),
        )

    @torch.no_grad()
    def shape(self, coefficients: Tensor, deformation: Tensor, expression: Tensor | None = None) -> Tensor:
        """Return the unturned face (1, 35709, 3) with details, and with an expression (1, 64) if given.

        No network is asked: an expression is changed by this alone.
        """
        face = self.model.facemodel_front
        parts = face.split_coeff(coefficients)
        base = face.compute_shape(parts["id"], parts["exp"] if expression is None else expression)
        moved: Tensor = face.add_nonlinear_offset(base, deformation, self.model.bfm_UVs)[0]
        return moved

    def express(self, fitted: FittedFront, expression: FloatArray) -> FloatArray:
        """Return the unturned front (35709, 3) with details and another expression (64,)."""
        coefficients, deformation = self._send(fitted.coefficients), self._send(fitted.deformation)
        moved = self.shape(coefficients, deformation, self._send(expression.reshape(1, -1)))
        return np.asarray(moved[0].cpu().numpy())

    def colour(self, crops: FaceCrops, fitted: FittedFront, steps: int) -> FloatArray:
        """Return the front's texture (256, 256, 3) RGB, about 0..1: the model's, fitted to the photo.

        Args:
            steps: of the fit; the pipeline makes 100.
        """
        with on_device(self.device):
            coefficients = self._send(fitted.coefficients)
            with torch.no_grad():
                vertex, _, _, _, _, shape, normals, _ = (
                    self.model.facemodel_front.compute_for_render_hierarchical_mid(
                        coefficients, self._send(fitted.deformation), self.model.bfm_UVs
                    )
                )
                start, _ = self.model.facemodel_front.compute_for_render_hierarchical_high(
                    coefficients, self._send(fitted.displacement), self._send(fitted.albedo), shape, normals
                )
            texture = fit_texture(self.model, vertex, start, self._send(crops.widened), steps)
        return np.asarray(texture[0].permute(1, 2, 0).cpu().numpy())

    def _place(self, coefficients: Tensor, deformation: Tensor) -> Tensor:
        """Return the face's vertices (1, 35709, 3) in the camera's space."""
        face = self.model.facemodel_front
        parts = face.split_coeff(coefficients)
        turned = face.transform(
            self.shape(coefficients, deformation), face.compute_rotation(parts["angle"]), parts["trans"]
        )
        placed: Tensor = face.to_camera(turned)
        return placed

    def _send(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _resize(maps: Tensor, side: int) -> Tensor:
    return functional.interpolate(maps, (side, side), mode="bilinear")


def _to_world(vertex: Tensor) -> FloatArray:
    world = vertex[0].clone()
    world[..., -1] = CAMERA_DISTANCE - world[..., -1]
    return np.asarray(world.cpu().numpy())


def _no_face(who: str) -> RefusedError:
    return RefusedError(ErrorCode.NO_FACE, f"Engine hrn found no face: its {who} saw none.")
