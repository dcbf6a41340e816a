"""The face network as a CUDA graph: a turned face costs no more of the host than another one."""

import torch
from torch import Tensor

from gpu_workers.head.landmarks.dense_network import FaceEstimate, FaceNetwork, NetworkPlan
from gpu_workers.head.runtime.cuda_graphs import GraphPool
from gpu_workers.head.runtime.graphed_function import GraphedFunction


class GraphedFaceNetwork:
    """`FaceNetwork.predict`, one crop at a time as a graph; the network itself is the reference."""

    def __init__(self, network: FaceNetwork, pool: GraphPool) -> None:
        self._network = network
        self._predict = GraphedFunction(network.predict, pool)

    @property
    def plan(self) -> NetworkPlan:
        """The network's."""
        return self._network.plan

    def predict(self, crops: Tensor) -> FaceEstimate:
        """Return the estimate of crops on the device; see `FaceNetwork.predict`."""
        if len(crops) != 1:
            return self._network.predict(crops)
        with torch.inference_mode():
            return self._predict(crops)
