"""Rows of numbers as text, a column of characters at a time: printing one by one holds up all threads."""

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray

_ZERO = ord("0")


def write_decimals(keyword: str, values: FloatArray, decimals: int = 6) -> bytes:
    """Return a line a row of finite float32 values (N, K), as `format` prints them with N decimals."""
    # A float32 times a million is exact in float64, so that a tie goes to the even digit in both.
    magnitudes = np.rint(np.abs(values.astype(np.float64)) * 10**decimals).astype(np.int64)
    lines = _Lines(keyword, len(values))
    for column, negative in zip(magnitudes.T, np.signbit(values).T, strict=True):
        lines.add(" ")
        lines.add("-", negative)
        lines.add_number(column, decimals)
    return lines.join()


def write_tuples(keyword: str, tuples: NDArray[np.integer], kept: NDArray[np.bool_]) -> bytes:
    """Return a line a row of tuples `first/second/...` (N, K, T), positive integers, that are kept (N, K)."""
    lines = _Lines(keyword, len(tuples))
    separators = " " + "/" * (tuples.shape[2] - 1)
    for column, wanted in zip(tuples.transpose(1, 2, 0), kept.T, strict=True):
        for separator, numbers in zip(separators, column, strict=True):
            lines.add(separator, wanted)
            lines.add_number(numbers, 0, wanted)
    return lines.join()


class _Lines:
    """Lines as they grow; each begins with a keyword."""

    def __init__(self, keyword: str, count: int) -> None:
        self._characters: list[NDArray[np.uint8]] = []
        self._kept: list[NDArray[np.bool_]] = []
        self._all = np.ones(count, bool)
        for character in keyword:
            self.add(character)

    def add(self, character: str, kept: NDArray[np.bool_] | None = None) -> None:
        """Add a character to the lines (N,) that are kept, or to all."""
        self._characters.append(np.full(len(self._all), ord(character), np.uint8))
        self._kept.append(self._all if kept is None else kept)

    def add_number(
        self, numbers: NDArray[np.integer], decimals: int, kept: NDArray[np.bool_] | None = None
    ) -> None:
        """Add (N,) numbers, not negative, whose last digits stand behind a point."""
        wanted = self._all if kept is None else kept
        rest: NDArray[np.unsignedinteger] = numbers.astype(
            np.uint32 if numbers.max(initial=0) < 2**32 else np.uint64
        )
        digits: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
        while len(digits) <= decimals or rest.any():
            # Zeros in front are left out, but for the one before the point.
            used = wanted if len(digits) <= decimals else wanted & (rest != 0)
            rest, digit = np.divmod(rest, rest.dtype.type(10))
            digits.append((digit.astype(np.uint8) + np.uint8(_ZERO), used))
        for place in reversed(range(len(digits))):
            self._characters.append(digits[place][0])
            self._kept.append(digits[place][1])
            if decimals and place == decimals:
                self.add(".", kept)

    def join(self) -> bytes:
        """End the lines and return them."""
        self.add("\n")
        return np.stack(self._characters, axis=1)[np.stack(self._kept, axis=1)].tobytes()
