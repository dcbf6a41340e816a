"""Finds blocks of logic that stand twice in the product: `python -m scripts.find_repeats`.

A block is a run of statements of one function, each by its first line as the parser prints it, with names
of variables replaced by their order: layout, comments and other names hide no repeat. Imports, docstrings,
fields of a class and lists of arguments are no logic.
"""

import ast
import keyword
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What is searched; tests and migrations may repeat themselves.
PACKAGES = (
    *("face3d", "cli", "capacity", "storage", "db", "tasks", "gpu_workers", "assets", "web", "bench"),
    "compose",
)
#: Statements of a block.
SHORTEST = 6
#: A variable: no attribute, no part of a text, neither called nor the name of an argument.
_VARIABLE = re.compile(r"""(?<![.\w"'])([a-z_]\w*)(?![\w("'=])""")
_FIXED = frozenset({*keyword.kwlist, "self", "cls"})


@dataclass(frozen=True)
class Line:
    """A statement's first line and where it stands."""

    text: str
    file: str
    number: int


def find_repeats(sources: dict[str, str], shortest: int = SHORTEST) -> list[tuple[Line, Line]]:
    """Return the first lines of blocks that stand twice: earlier place and later one, once a run.

    Args:
        sources: name of a file to its text.
    """
    first: dict[tuple[str, ...], Line] = {}
    repeats: list[tuple[Line, Line]] = []
    for file, source in sources.items():
        for lines in _functions(file, ast.parse(source)):
            inside = False
            for start in range(len(lines) - shortest + 1):
                earlier = first.setdefault(_shape(lines[start : start + shortest]), lines[start])
                repeated = earlier is not lines[start]
                if repeated and not inside:
                    repeats.append((earlier, lines[start]))
                inside = repeated
    return repeats


def _functions(file: str, node: ast.AST) -> Iterator[list[Line]]:
    """Yield the lines of each outermost function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield list(_lines(file, child.body))
        elif isinstance(child, ast.stmt):
            yield from _functions(file, child)


def _lines(file: str, body: Sequence[ast.AST]) -> Iterator[Line]:
    for node in body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
            continue
        if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Line(ast.unparse(node).partition("\n")[0], file, node.lineno)
        for block in ("body", "handlers", "orelse", "finalbody"):
            yield from _lines(file, getattr(node, block, []))


def _shape(lines: Sequence[Line]) -> tuple[str, ...]:
    order: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        name = found[0]
        return name if name in _FIXED else order.setdefault(name, f"v{len(order)}")

    return tuple(_VARIABLE.sub(number, line.text) for line in lines)


def read_product() -> dict[str, str]:
    """Return the product's files, name to text."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def main() -> int:
    """Print the repeats; return 1 if there are any."""
    repeats = find_repeats(read_product())
    for earlier, later in repeats:
        sys.stdout.write(f"{later.file}:{later.number} repeats {earlier.file}:{earlier.number}\n")
    return min(1, len(repeats))


if __name__ == "__main__":
    sys.exit(main())
