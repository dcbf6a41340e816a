"""The face models on a GPU: cut, network and scores of a look are one CUDA graph.

LiteRT took a GPU's host 17 ms a photo for the models alone; `HostFaceModels` is the plain twin.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.landmarks.crops import Photo, Region
from gpu_workers.head.landmarks.crops_cuda import sample_regions
from gpu_workers.head.landmarks.mediapipe_models import (
    BOXES,
    DETECTOR,
    DETECTOR_SIZE,
    EXPRESSION,
    EXPRESSION_LANDMARKS,
    INPUT_SIZE,
    LANDMARKS,
    LOGITS,
    POINTS,
    PRESENCE,
    SCORES,
    FloatArray,
    RawFace,
)
from gpu_workers.head.landmarks.tflite_runtime import TorchModel
from gpu_workers.head.runtime.cuda_graphs import FACES, CapturedCall

#: Pixels of the largest photo whose looks are captured: what the default options decode at most.
_CAPTURED_PIXELS = 3200 * 3200
#: Of the close looks, at a crop and its mirror image.
_CAPTURED_CROP = 1024 * 1024


class DeviceFaceModels:
    """The models on a device; see `FaceModels`.

    Args:
        contents: member of the file to its bytes.
    """

    def __init__(self, contents: Mapping[str, bytes], device: torch.device) -> None:
        self._device = device
        self._detector = TorchModel(contents[DETECTOR], (BOXES, LOGITS), device)
        self._landmarks = TorchModel(contents[LANDMARKS], (POINTS, PRESENCE), device)
        self._expression = TorchModel(contents[EXPRESSION], (SCORES,), device)
        self._subset = torch.tensor(EXPRESSION_LANDMARKS, device=device)
        photo = torch.zeros(1, _CAPTURED_PIXELS if device.type == "cuda" else 0, 3, dtype=torch.uint8)
        pair = torch.zeros(2, _CAPTURED_CROP if device.type == "cuda" else 0, 3, dtype=torch.uint8)
        buffers = {1: photo.to(device), 2: pair.to(device)}
        self._finder = _Looker(self._find, buffers[1])
        self._lookers = {count: _Looker(self._look, buffer) for count, buffer in buffers.items()}

    def find(self, photo: Photo, region: Region) -> tuple[FloatArray, FloatArray]:
        """See `FaceModels`."""
        with FACES.lock:
            found = self._finder([self._move(photo)], [region])[0].reshape(-1, 17)
        return found[:, :16], found[:, 16]

    def look(self, cuts: Sequence[tuple[Photo, Region]]) -> list[RawFace]:
        """See `FaceModels`."""
        if len(cuts) not in self._lookers:
            return [face for cut in cuts for face in self.look([cut])]
        photos, regions = [self._move(photo) for photo, _ in cuts], [region for _, region in cuts]
        with FACES.lock:
            found = self._lookers[len(cuts)](photos, regions)
        count = 3 * 478
        return [
            RawFace(points=row[:count].reshape(478, 3), logit=float(row[count]), scores=row[count + 1 :])
            for row in found
        ]

    def _move(self, photo: Photo) -> Tensor:
        return photo if isinstance(photo, Tensor) else torch.tensor(photo, device=self._device)

    def _find(self, photos: Tensor, places: Tensor) -> Tensor:
        """Return (B, 896 x 17) of photos (B, P, 3) and places as `sample_regions` takes them."""
        pixels = sample_regions(photos, places, DETECTOR_SIZE, replicate=False) / 127.5 - 1
        outputs = self._detector(pixels)
        return torch.cat([outputs[BOXES], outputs[LOGITS]], dim=2).flatten(1)

    def _look(self, photos: Tensor, places: Tensor) -> Tensor:
        """Return (B, 478 x 3 + 1 + 52)."""
        pixels = sample_regions(photos, places, INPUT_SIZE, replicate=True) / 255
        outputs = self._landmarks(pixels)
        points = outputs[POINTS].reshape(len(photos), 478, 3) / INPUT_SIZE
        across, down = (points[:, self._subset, axis].double() - 0.5 for axis in (0, 1))
        x, y, xx, xy, yx, yy = places[:, :6, None].unbind(1)
        plane = torch.stack([x + across * xx + down * xy, y + across * yx + down * yy], dim=2).float()
        # The expression model's shapes are those of one face.
        scores = torch.stack([self._expression(one[None])[SCORES] for one in plane])
        return torch.cat([points.flatten(1), outputs[PRESENCE].reshape(-1, 1), scores], dim=1)


class _Looker:
    """A function of photos and places, captured where the device and the photos' sizes allow it.

    Args:
        function: of photos (B, P, 3) uint8 and places (B, 8).
        buffer: (B, P, 3) uint8, from which a captured call reads; shared by those that run one at a time.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], buffer: Tensor) -> None:
        self._function, self._buffer = function, buffer
        self._places = torch.ones(len(buffer), 8, dtype=torch.float64, device=buffer.device)
        self._captured: CapturedCall[Tensor] | None = None

    def __call__(self, photos: Sequence[Tensor], regions: Sequence[Region]) -> FloatArray:
        """Return the function's rows (B, N) on the host."""
        rows = [[*_place(region), *photo.shape[:2]] for photo, region in zip(photos, regions, strict=True)]
        places = torch.tensor(rows, dtype=torch.float64)
        flat = [photo.reshape(-1, 3) for photo in photos]
        with torch.inference_mode():
            if max(len(one) for one in flat) > self._buffer.shape[1]:
                pairs = zip(flat, places.to(flat[0].device), strict=True)
                with _exact_convolutions():
                    found = torch.cat([self._function(one[None], place[None]) for one, place in pairs])
            else:
                for target, one in zip(self._buffer, flat, strict=True):
                    target[: len(one)].copy_(one)
                self._places.copy_(places)
                found = self._replay()
            return found.cpu().numpy()

    def _replay(self) -> Tensor:
        if self._captured is None:
            with _exact_convolutions():
                self._captured = CapturedCall(
                    lambda: self._function(self._buffer, self._places), self._buffer.device, FACES
                )
        return self._captured.replay()


def _place(region: Region) -> tuple[float, ...]:
    """Return centre and axes of a region, the first six numbers of a place."""
    cos, sin = np.cos(region.angle), np.sin(region.angle)
    across, down = region.width, region.height
    return region.x, region.y, cos * across, -sin * down, sin * across, cos * down


def _exact_convolutions() -> AbstractContextManager[None]:
    """Return a context in which convolutions keep single precision: landmarks are measured to 1/1000."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
