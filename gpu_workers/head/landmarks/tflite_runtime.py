"""A TFLite model's graph in torch, for a GPU: where LiteRT has no fast way.

Knows the operators of MediaPipe's three face models. Activations are NHWC, as TFLite has them. Semantics:
TensorFlow Lite's schema and kernels (`SAME` padding puts the odd pixel last).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_Operator = Callable[[Sequence[Tensor]], Tensor]
_SAME = 0


class UnknownOperator(ValueError):
    """The model has an operator, or a form of one, that this file lacks."""


class TorchModel:
    """A float model with one input.

    Args:
        content: the .tflite file's bytes.
        outputs: names of the tensors that calls return; what only other outputs need is left out.
    Raises:
        UnknownOperator: see there.
    """

    def __init__(self, content: bytes, outputs: Sequence[str], device: torch.device) -> None:
        from ai_edge_litert import schema_py_generated as schema

        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = model.subgraphs[0]
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        known = _read_constants(model, graph, schema)
        index = {tensor.name.decode(): number for number, tensor in enumerate(graph.tensors)}
        self._input = int(graph.inputs[0])
        self._outputs = {name: index[name] for name in outputs}
        steps = []
        for operator in graph.operators:
            name, target = names[codes[operator.opcodeIndex]], int(operator.outputs[0])
            if name == "DEQUANTIZE":
                known[target] = known[int(operator.inputs[0])].astype(np.float32)
                continue
            arguments = [int(number) for number in operator.inputs]
            given = [number for number in arguments if number not in known]
            constants = {place: known[number] for place, number in enumerate(arguments) if number in known}
            steps.append((given, target, _build(name, operator.builtinOptions, constants, device)))
        self._steps = _needed(steps, set(self._outputs.values()))

    def __call__(self, values: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name; `values` is the input, of the model's shape, float32."""
        tensors = {self._input: values}
        for given, target, operate in self._steps:
            tensors[target] = operate([tensors[number] for number in given])
        return {name: tensors[number] for name, number in self._outputs.items()}


_Step = tuple[list[int], int, _Operator]


def _needed(steps: list[_Step], wanted: set[int]) -> list[_Step]:
    kept = []
    for given, target, operate in reversed(steps):
        if target in wanted:
            wanted |= set(given)
            kept.append((given, target, operate))
    return kept[::-1]


def _read_constants(model: Any, graph: Any, schema: Any) -> dict[int, np.ndarray[Any, Any]]:
    kinds = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT32: np.int32,
    }
    constants = {}
    for number, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            shape = [] if tensor.shape is None else list(tensor.shape)
            constants[number] = np.frombuffer(bytes(data), kinds[tensor.type]).reshape(shape)
    return constants


def _build(
    name: str, options: Any, constants: Mapping[int, np.ndarray[Any, Any]], device: torch.device
) -> _Operator:
    """Return a function of the arguments that are not constant."""
    if name in _ELEMENTWISE:
        operate = _with_constants(_ELEMENTWISE[name], constants, device)
    elif name in _FORMS:
        operate = _FORMS[name](options, constants, device)
    else:
        raise UnknownOperator(f"TFLite operator {name}")
    match getattr(options, "fusedActivationFunction", 0):
        case 0:
            return operate
        case 1:
            return lambda given: operate(given).clamp(min=0)
        case other:
            raise UnknownOperator(f"{name} with activation {other}")


def _with_constants(
    function: Callable[..., Tensor], constants: Mapping[int, np.ndarray[Any, Any]], device: torch.device
) -> _Operator:
    fixed = {place: torch.from_numpy(value.copy()).to(device) for place, value in constants.items()}

    def operate(given: Sequence[Tensor]) -> Tensor:
        rest = iter(given)
        return function(*(fixed[place] if place in fixed else next(rest) for place in range(_arity)))

    _arity = function.__code__.co_argcount
    return operate


_ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": lambda a, b: a / b,
    "SQUARED_DIFFERENCE": lambda a, b: (a - b) ** 2,
    "NEG": lambda a: -a,
    "SQRT": lambda a: a.sqrt(),
    "RSQRT": lambda a: a.rsqrt(),
    "LOGISTIC": lambda a: a.sigmoid(),
    "RELU": lambda a: a.clamp(min=0),
    "PRELU": lambda a, slope: torch.where(a >= 0, a, a * slope),
}


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many pixels `SAME` padding adds before and after."""
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


def _pad_same(picture: Tensor, kernel: tuple[int, int], stride: tuple[int, int], value: float) -> Tensor:
    """Return a (B, C, H, W) picture with `SAME` padding."""
    rows, columns = (_same(side, k, s) for side, k, s in zip(picture.shape[2:], kernel, stride, strict=True))
    pads = [*columns, *rows]
    return functional.pad(picture, pads, value=value) if any(pads) else picture


def _convolution(depthwise: bool) -> Callable[..., _Operator]:
    def build(options: Any, constants: Mapping[int, np.ndarray[Any, Any]], device: torch.device) -> _Operator:
        # (out, height, width, in), or (1, height, width, channels) of a depthwise one.
        raw = torch.from_numpy(constants[1].copy())
        weight = raw.permute(3, 0, 1, 2) if depthwise else raw.permute(0, 3, 1, 2)
        weight = weight.to(device, memory_format=torch.channels_last)
        bias = torch.from_numpy(constants[2].copy()).to(device)
        stride = (options.strideH, options.strideW)
        kernel = (weight.shape[2], weight.shape[3])
        groups = len(weight) if depthwise else 1
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1) or (
            depthwise and options.depthMultiplier != 1
        ):
            raise UnknownOperator("a convolution with dilation or multiplied channels")

        def operate(given: Sequence[Tensor]) -> Tensor:
            picture = given[0].permute(0, 3, 1, 2)
            if options.padding == _SAME:
                picture = _pad_same(picture, kernel, stride, 0.0)
            return functional.conv2d(picture, weight, bias, stride, groups=groups).permute(0, 2, 3, 1)

        return operate

    return build


def _max_pool(options: Any, _constants: object, _device: object) -> _Operator:
    kernel, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)

    def operate(given: Sequence[Tensor]) -> Tensor:
        picture = given[0].permute(0, 3, 1, 2)
        if options.padding == _SAME:
            picture = _pad_same(picture, kernel, stride, -torch.inf)
        return functional.max_pool2d(picture, kernel, stride).permute(0, 2, 3, 1)

    return operate


def _pad(_options: object, constants: Mapping[int, np.ndarray[Any, Any]], _device: object) -> _Operator:
    pads = [int(side) for axis in constants[1][::-1] for side in axis]
    return lambda given: functional.pad(given[0], pads)


def _reshape(options: Any, constants: Mapping[int, np.ndarray[Any, Any]], _device: object) -> _Operator:
    given_shape = constants.get(1)
    shape = [int(side) for side in (options.newShape if given_shape is None else given_shape)]
    return lambda given: given[0].reshape(shape)


def _transpose(_options: object, constants: Mapping[int, np.ndarray[Any, Any]], _device: object) -> _Operator:
    order = [int(axis) for axis in constants[1]]
    return lambda given: given[0].permute(order)


def _concatenation(
    options: Any, constants: Mapping[int, np.ndarray[Any, Any]], device: torch.device
) -> _Operator:
    fixed = {place: torch.from_numpy(value.copy()).to(device) for place, value in constants.items()}

    def operate(given: Sequence[Tensor]) -> Tensor:
        rest = iter(given)
        parts = [fixed[p] if p in fixed else next(rest) for p in range(len(fixed) + len(given))]
        return torch.cat(parts, dim=options.axis)

    return operate


def _reduction(function: Callable[..., Tensor]) -> Callable[..., _Operator]:
    def build(options: Any, constants: Mapping[int, np.ndarray[Any, Any]], _device: object) -> _Operator:
        axes = [int(axis) for axis in np.atleast_1d(constants[1])]
        return lambda given: function(given[0], dim=axes, keepdim=bool(options.keepDims))

    return build


def _strided_slice(options: Any, constants: Mapping[int, np.ndarray[Any, Any]], _device: object) -> _Operator:
    parts: list[slice | int] = []
    for axis, (begin, end, step) in enumerate(zip(*(constants[n].tolist() for n in (1, 2, 3)), strict=True)):
        if options.shrinkAxisMask >> axis & 1:
            parts.append(begin)
            continue
        first = None if options.beginMask >> axis & 1 else begin
        last = None if options.endMask >> axis & 1 else end
        parts.append(slice(first, last, step))
    chosen = tuple(parts)
    return lambda given: given[0][chosen]


_FORMS: dict[str, Callable[..., _Operator]] = {
    "CONV_2D": _convolution(depthwise=False),
    "DEPTHWISE_CONV_2D": _convolution(depthwise=True),
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "MEAN": _reduction(torch.mean),
    "SUM": _reduction(torch.sum),
    "STRIDED_SLICE": _strided_slice,
}
