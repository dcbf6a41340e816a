"""No logic stands twice in the product."""

from scripts.find_repeats import SHORTEST, find_repeats, read_product

LOGIC = """
def measure(points, limit):
    low = points.min()
    high = points.max()
    if high - low > limit:
        raise ValueError(limit)
    share = (points - low) / (high - low)
    return share.mean()
"""


def test_no_block_of_logic_stands_twice() -> None:
    repeats = find_repeats(read_product())
    assert not [f"{b.file}:{b.number} repeats {a.file}:{a.number}" for a, b in repeats]


def test_other_names_and_layout_hide_no_repeat() -> None:
    renamed = (
        LOGIC.replace("points", "heights").replace("low", "bottom").replace("\n    high", "\n\n    high")
    )
    ((earlier, later),) = find_repeats({"a.py": LOGIC, "b.py": "\n" + renamed})
    assert (earlier.file, later.file) == ("a.py", "b.py")


def test_what_differs_is_no_repeat() -> None:
    assert not find_repeats(
        {"a.py": LOGIC, "b.py": LOGIC.replace("high - low > limit", "high - low < limit")}
    )
    assert not find_repeats({"a.py": LOGIC, "b.py": LOGIC.replace("min", "mean")})
    assert len(LOGIC.strip().splitlines()) == SHORTEST + 1
