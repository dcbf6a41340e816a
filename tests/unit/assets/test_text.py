"""Numbers as text, by whole columns, against printing them one by one."""

import numpy as np
import pytest

from assets.text import write_decimals, write_tuples


def test_decimals_are_printed_as_format_prints_them() -> None:
    rng = np.random.default_rng(5)
    values = (rng.normal(size=(4000, 3)) * 10.0 ** rng.integers(-8, 4, (4000, 3))).astype(np.float32)
    # Ties, zeros of both signs, and what rounds to them.
    ties = (rng.integers(-(2**16), 2**16, (2000, 3)) / 2**7).astype(np.float32)
    edges = np.array([[0, -0.0, 1], [-4e-7, 4e-7, 0.9999999], [-5e-7, 0.0078125, -0.0078125]], np.float32)
    for rows in (values, ties, edges, values[:0]):
        plain = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in rows.tolist())
        assert write_decimals("v", rows) == plain.encode()


def test_fewer_decimals_are_printed_as_format_prints_them() -> None:
    rng = np.random.default_rng(7)
    values = rng.uniform(-1, 1, (2000, 3)).astype(np.float32)
    plain = "".join(f"vn {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in values.tolist())
    assert write_decimals("vn", values, 4) == plain.encode()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tuples_are_printed_as_str_prints_them(size: int) -> None:
    rng = np.random.default_rng(6)
    tuples = rng.integers(1, 10 ** rng.integers(1, 7, (500, 4, size)))
    kept = np.ones((500, 4), bool)
    kept[::3, 3] = False
    rows = zip(tuples.tolist(), kept.tolist(), strict=True)
    plain = [
        "f " + " ".join("/".join(map(str, one)) for one, wanted in zip(row, wants, strict=True) if wanted)
        for row, wants in rows
    ]
    assert write_tuples("f", tuples, kept).decode() == "".join(line + "\n" for line in plain)
