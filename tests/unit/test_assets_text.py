"""Numbers as text, by whole columns, against printing them one by one."""

import numpy as np

from assets.text import write_decimals, write_pairs


def test_decimals_are_printed_as_format_prints_them() -> None:
    rng = np.random.default_rng(5)
    values = (rng.normal(size=(4000, 3)) * 10.0 ** rng.integers(-8, 4, (4000, 3))).astype(np.float32)
    # Ties, zeros of both signs, and what rounds to them.
    ties = (rng.integers(-(2**16), 2**16, (2000, 3)) / 2**7).astype(np.float32)
    edges = np.array([[0, -0.0, 1], [-4e-7, 4e-7, 0.9999999], [-5e-7, 0.0078125, -0.0078125]], np.float32)
    for rows in (values, ties, edges, values[:0]):
        plain = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in rows.tolist())
        assert write_decimals("v", rows) == plain.encode()


def test_pairs_are_printed_as_str_prints_them() -> None:
    rng = np.random.default_rng(6)
    pairs = rng.integers(1, 10 ** rng.integers(1, 7, (500, 4, 2)))
    kept = np.ones((500, 4), bool)
    kept[::3, 3] = False
    rows = zip(pairs.tolist(), kept.tolist(), strict=True)
    plain = [
        "f " + " ".join(f"{a}/{b}" for (a, b), wanted in zip(row, wants, strict=True) if wanted)
        for row, wants in rows
    ]
    assert write_pairs("f", pairs, kept).decode() == "".join(line + "\n" for line in plain)
