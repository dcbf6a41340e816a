"""The face network as a CUDA graph: a turned face costs no more of the host than another one."""

import torch
from torch import Tensor

from gpu_workers.head.landmarks.dense_network import FaceEstimate, FaceNetwork, NetworkPlan
from gpu_workers.head.runtime.cuda_graphs import FACES, CapturedCall


class GraphedFaceNetwork:
    """`FaceNetwork.predict` on a CUDA device, one crop at a time; the network itself is the plain form."""

    def __init__(self, network: FaceNetwork, device: torch.device) -> None:
        size = network.plan.input_size
        self._network, self._device = network, device
        self._crops = torch.zeros(1, size, size, 3, dtype=torch.uint8, device=device)
        self._captured: CapturedCall[FaceEstimate] | None = None

    @property
    def plan(self) -> NetworkPlan:
        """The network's."""
        return self._network.plan

    def predict(self, crops: Tensor) -> FaceEstimate:
        """Return the estimate of one crop; see `FaceNetwork.predict`."""
        if crops.shape != self._crops.shape:
            return self._network.predict(crops)
        with FACES.lock, torch.cuda.device(self._device), torch.inference_mode():
            self._crops.copy_(crops)
            if self._captured is None:
                self._captured = CapturedCall(lambda: self._network.predict(self._crops), self._device, FACES)
            found = self._captured.replay()
            # The next replay writes its results to the same place.
            return FaceEstimate(**{name: value.clone() for name, value in vars(found).items()})
