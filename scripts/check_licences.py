"""The licence of every package that requirements.lock names: `.venv/bin/python scripts/check_licences.py`.

An argument names another lock, of the environment that runs this.

Permissive licences pass, and LGPL for libraries that we use unmodified. GPL, AGPL, non-commercial and unknown
ones are refused unless REVIEWED names the package with a reason.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: SPDX identifiers.
ALLOWED = frozenset(
    {
        *("MIT", "MIT-CMU", "MIT-0", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "Zlib"),
        *("MPL-2.0", "PSF-2.0", "Unlicense", "HPND", "BSL-1.0", "CC0-1.0", "Apache-2.0 WITH LLVM-exception"),
        *("LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"),
    }
)

#: What older packages write into `License` or a classifier, as patterns, to SPDX.
SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"Apache( Software)? License( 2\.0)?|Apache[ -]2(\.0)?", "Apache-2.0"),
    (r"MIT( License)?", "MIT"),
    (r"(New )?BSD( License)?|3-Clause BSD License", "BSD-3-Clause"),
    (r"ISC License( \(ISCL\))?|ISC", "ISC"),
    (r"Mozilla Public License 2\.0 \(MPL 2\.0\)", "MPL-2.0"),
    (r"Python Software Foundation License", "PSF-2.0"),
)

#: Read by a person: package to reason.
REVIEWED: dict[str, str] = {
    "assimp_py": "states none; its LICENSE files: MIT, and BSD-3-Clause of assimp inside; for tests only",
}


def find_refused(lock: Path, reviewed: dict[str, str] | None = None) -> dict[str, str]:
    """Return the packages of a lock whose licence is not allowed: name to what they state.

    Args:
        reviewed: packages that pass whatever they state; REVIEWED when None.
    """
    passed = REVIEWED if reviewed is None else reviewed
    refused = {}
    for name in re.findall(r"^([A-Za-z0-9_.-]+)==", lock.read_text(), re.MULTILINE):
        stated = stated_licence(name)
        if name not in passed and not is_allowed(stated):
            refused[name] = stated or "states none"
    return refused


def stated_licence(name: str) -> str:
    """Return what an installed package states: its SPDX expression, or its classifiers, or its free text."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return "not installed"
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    classifiers = [
        text.rsplit("::", 1)[1].strip()
        for text in metadata.get_all("Classifier") or ()
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    texts = [text for text in classifiers if text != "DFSG approved"] or [
        str(metadata["License"]) if "License" in metadata else ""
    ]
    return " AND ".join(_to_spdx(text) for text in texts)


def is_allowed(expression: str) -> bool:
    """Return whether an SPDX expression (AND, OR, parentheses) leaves us an allowed choice."""
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|(?:(?!\bAND\b|\bOR\b)[^()])+", expression)
    words = [token.strip() for token in tokens if token.strip()]
    # Each licence becomes a truth value; AND binds tighter than OR in SPDX as in Python.
    names = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    code = " ".join(names.get(word, str(word in ALLOWED)) for word in words)
    try:
        return bool(eval(code, {"__builtins__": {}}))  # noqa: S307 - made of True, False, and, or, ( )
    except SyntaxError:
        return False


def _to_spdx(text: str) -> str:
    first = text.strip().splitlines()[0].strip() if text.strip() else ""
    for pattern, name in SPELLINGS:
        if re.fullmatch(pattern, first, re.IGNORECASE):
            return name
    return first


def main() -> int:
    """Print what is refused; the return value is the exit code."""
    lock = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "requirements.lock")
    refused = find_refused(lock)
    for name, stated in refused.items():
        sys.stderr.write(f"licence refused: {name}: {stated}\n")
    if not refused:
        sys.stdout.write(f"licences: all of {lock.name} are allowed\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
