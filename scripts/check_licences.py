"""The licence of every package that requirements.lock names: `.venv/bin/python scripts/check_licences.py`.

An argument names another lock, of the environment that runs this.

Permissive licences pass, and LGPL for libraries that we use unmodified. GPL, AGPL, non-commercial and unknown
ones are refused unless REVIEWED names the package with a reason.

What a package states covers its own code; its wheel may carry libraries of others. So the files are looked at
too: libraries that are known to be GPL, and GPL licences in the lists of what is bundled.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
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
    # pi-heif: its wheels carry libheif and libde265 as shared libraries, unmodified and replaceable.
    (r"GNU Lesser General Public License v3 \(LGPLv3\)|LGPLv3", "LGPL-3.0-only"),
)

#: Libraries under the GPL, or built so that it applies, and where they say so.
GPL_LIBRARIES = {
    "x264": "https://www.videolan.org/developers/x264.html",
    "x265": "https://bitbucket.org/multicoreware/x265_git, COPYING",
    "xvidcore": "https://www.xvid.com, LICENSE",
    "postproc": "https://ffmpeg.org/legal.html",
    "vidstab": "https://github.com/georgmartius/vid.stab, LICENSE",
    "rubberband": "https://breakfastquay.com/rubberband, COPYING",
    "fftw3": "https://www.fftw.org/doc/License-and-Copyright.html",
    "fftw3f": "https://www.fftw.org/doc/License-and-Copyright.html",
    "gsl": "https://www.gnu.org/software/gsl, COPYING",
    "readline": "https://tiswww.case.edu/php/chet/readline/rltop.html",
    "gs": "https://ghostscript.com/licensing",
    "poppler": "https://poppler.freedesktop.org, COPYING",
    "cdio": "https://www.gnu.org/software/libcdio, COPYING",
}
#: A library's file: its name without `lib`, and what tools that repair wheels add to it.
_LIBRARY = re.compile(
    r"(?:lib)?(?P<name>[A-Za-z0-9_+]+?)(?:-[0-9a-f]{6,})?(?:-[\d.]+)?(?:\.so[\d.]*|(?:\.\d+)*\.dylib|\.dll)"
)
#: A licence in the lists that wheels of NumPy, SciPy or pi-heif carry.
_BUNDLED_LICENCE = re.compile(r"^ *License: *(?P<licence>[^\n]*)", re.MULTILINE)

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
        if name in passed:
            continue
        stated = stated_licence(name)
        if not is_allowed(stated):
            refused[name] = stated or "states none"
        elif carried := carried_gpl(distribution(name)):
            refused[name] = f"states {stated}, carries {', '.join(carried)}"
    return refused


def carried_gpl(package: Distribution) -> list[str]:
    """Return what an installed package carries under the GPL: files of libraries, and licences it lists."""
    found = []
    for file in package.files or ():
        match = _LIBRARY.fullmatch(file.name)
        if match and match["name"].lower() in GPL_LIBRARIES:
            found.append(file.name)
        if "licen" in file.name.lower() and file.suffix.lower() in ("", ".txt", ".md", ".rst"):
            path = Path(str(package.locate_file(file)))
            text = path.read_text(errors="replace") if path.is_file() else ""
            found += [licence for licence in _BUNDLED_LICENCE.findall(text) if _is_gpl(licence)]
    return found


def _is_gpl(licence: str) -> bool:
    """Return whether a licence is the GPL; GCC's libraries may be linked with anything by its exception."""
    if re.search(r"\bWITH\b|exception", licence, re.IGNORECASE) or " OR " in licence:
        return False
    return re.search(r"\bA?GPL|(?<!Lesser )(?<!Library )General Public Licen", licence) is not None


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
