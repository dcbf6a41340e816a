"""Results as they come: a tensor, or a dataclass, mapping, sequence or named tuple of results."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from torch import Tensor

Result = TypeVar("Result")


def map_tensors(change: Callable[[Tensor], Tensor], value: Result) -> Result:
    """Return the same structure with each tensor changed; what is no tensor stays as it is."""
    return cast(Result, _map(change, value))


def list_tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors of a structure, in order."""
    if isinstance(value, Tensor):
        yield value
    else:
        for part in _parts(value):
            yield from list_tensors(part)


def _map(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _map(change, getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, Mapping):
        return {key: _map(change, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_map(change, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _parts(value: object) -> Iterator[object]:
    if is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
