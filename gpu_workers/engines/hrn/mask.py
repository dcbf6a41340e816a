"""The pipeline's face mask: its TensorFlow graph, or the ONNX that `face3d models convert hrn` made."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from gpu_workers.engines.hrn.files import MASK_GRAPH, MASK_NETWORK

#: Names of the graph's input and output.
PICTURE, MASK = "input_image:0", "output_alpha:0"


class MaskNetwork:
    """The mask by onnxruntime, behind the two calls that the pipeline makes to a TensorFlow session."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.graph = _Names()

    def find(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the face's coverage (224, 224), 0..255, of a picture (224, 224, 3) sRGB."""
        (mask,) = self._session.run([MASK], {PICTURE: picture.astype(np.float32)})
        return np.asarray(mask, np.float32)

    def run(self, name: str, feed_dict: dict[str, Any]) -> NDArray[np.float32]:
        """Answer as a TensorFlow session would."""
        if name != MASK:
            raise KeyError(name)
        return self.find(feed_dict[PICTURE])


class TensorFlowMask:
    """The mask by the graph itself, where TensorFlow is installed: the converted one's measure."""

    def __init__(self, path: Path) -> None:
        from tensorflow.compat import v1

        graph = v1.Graph()
        with graph.as_default():
            definition = v1.GraphDef()
            definition.ParseFromString(path.read_bytes())
            v1.import_graph_def(definition, name="")
        self._session = v1.Session(graph=graph)
        self.graph = _Names()

    def find(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the face's coverage (224, 224), 0..255, of a picture (224, 224, 3) sRGB."""
        return np.asarray(self._session.run(MASK, {PICTURE: picture}), np.float32)

    def run(self, name: str, feed_dict: dict[str, Any]) -> NDArray[np.float32]:
        """Answer as a TensorFlow session would."""
        return np.asarray(self._session.run(name, feed_dict), np.float32)


class _Names:
    def get_tensor_by_name(self, name: str) -> str:
        """Return the name: the session knows its tensors by it."""
        return name


class _Anything:
    """Takes whatever the pipeline says to TensorFlow while it is built, and does nothing."""

    def __getattr__(self, name: str) -> "_Anything":
        return self

    def __call__(self, *_: object, **__: object) -> "_Anything":
        return self

    def __enter__(self) -> "_Anything":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def open_mask(folder: Path) -> MaskNetwork | TensorFlowMask:
    """Return the mask of a model directory.

    Raises:
        EngineUnavailable: it was not converted, and TensorFlow is not installed.
    """
    if (folder / MASK_NETWORK).exists():
        return MaskNetwork(folder / MASK_NETWORK)
    if find_spec("tensorflow") is not None:
        return TensorFlowMask(folder / MASK_GRAPH)
    raise EngineUnavailable(
        f"Engine hrn: {MASK_NETWORK} is not in its model directory. `face3d models convert hrn` makes it "
        f"from {MASK_GRAPH}, once; only that needs TensorFlow."
    )


def stand_in_for_tensorflow() -> ModuleType:
    """Return what the pipeline imports as TensorFlow; its mask comes from the classes above."""
    module = ModuleType("tensorflow")
    module.__spec__ = ModuleSpec("tensorflow", None)
    nothing = _Anything()
    names = ("ConfigProto", "Graph", "Session", "gfile", "GraphDef", "import_graph_def")
    vars(module).update(dict.fromkeys((*names, "global_variables_initializer"), nothing))
    # Below 2, so that the pipeline does not ask for the compatible interface.
    vars(module)["__version__"] = "1.15.0"
    return module
