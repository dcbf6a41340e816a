"""The whole directory, about 800 MB: shapes are the real ones, so that speed and memory are, too."""

import json
from pathlib import Path

import torch
from torch import nn

from gpu_workers.engines.hrn.environment import borrowed_modules
from gpu_workers.engines.hrn.files import (
    CHECKPOINT,
    DEPTHS,
    FACE_DETECTOR,
    HEATMAPS,
    LANDMARKS,
    MASK_NETWORK,
    RETOUCHING,
    SQUARE_DETECTOR,
)
from gpu_workers.engines.hrn.synthetic.detectors import (
    Depths,
    Heatmaps,
    make_face_detector,
    make_landmark_network,
    make_square_detector,
)
from gpu_workers.engines.hrn.synthetic.face_model import write_face_model
from gpu_workers.engines.hrn.synthetic.networks import make_checkpoint, make_retouching_checkpoint

_CONFIGURATION = {
    "framework": "pytorch",
    "task": "face-reconstruction",
    "model": {"type": "face_reconstruction"},
    "pipeline": {"type": "resnet50-face-reconstruction"},
}


def make_model_directory(folder: Path) -> None:
    """Write every file that `face3d models check hrn` asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(11)
    (folder / "configuration.json").write_text(json.dumps(_CONFIGURATION, indent=1))
    write_face_model(folder / "assets")
    with borrowed_modules():
        torch.save(make_checkpoint(), folder / CHECKPOINT)
        torch.save(make_retouching_checkpoint(), folder / RETOUCHING)
        torch.save(make_landmark_network(), folder / LANDMARKS)
        # In the format of torch before 1.6, as the file's name says.
        torch.save(make_face_detector(), folder / FACE_DETECTOR, _use_new_zipfile_serialization=False)
        (folder / SQUARE_DETECTOR).parent.mkdir(exist_ok=True)
        torch.save(make_square_detector(), folder / SQUARE_DETECTOR, _use_new_zipfile_serialization=False)
    _save_script(Heatmaps(), 3, folder / HEATMAPS)
    _save_script(Depths(), 71, folder / DEPTHS)
    _write_mask_network(folder / MASK_NETWORK)


def _save_script(network: nn.Module, channels: int, path: Path) -> None:
    """Write a network of pictures (1, channels, 256, 256) as TorchScript."""
    example = torch.rand(1, channels, 256, 256)
    torch.jit.save(torch.jit.trace(network.eval(), example), path)  # type: ignore[no-untyped-call]


def _write_mask_network(path: Path) -> None:
    """Write the face mask as ONNX: an ellipse in the middle, 0..255, as the real network answers."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    row, column = np.mgrid[:224, :224] / 223 - 0.5
    ellipse = 255 / (1 + np.exp(-20 * (1 - (column / 0.38) ** 2 - (row / 0.47) ** 2)))
    constants = [
        numpy_helper.from_array(ellipse.astype(np.float32), "ellipse"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.array([2], np.int64), "channels"),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["input_image:0", "channels"], ["grey"], keepdims=0),
        helper.make_node("Mul", ["grey", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "ellipse"], ["output_alpha:0"]),
    ]
    picture = helper.make_tensor_value_info("input_image:0", TensorProto.FLOAT, [224, 224, 3])
    mask = helper.make_tensor_value_info("output_alpha:0", TensorProto.FLOAT, [224, 224])
    graph = helper.make_graph(nodes, "mask", [picture], [mask], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
