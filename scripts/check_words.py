"""Finds home-made words where the field has a standard term; part of `make check`.

Each rule is a pattern and the term to use. A match inside one of the rule's allowed phrases is none: another
meaning of the word, or a public name of the API, an option, a file or a database column.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What is read: code, pages, messages.
ENDINGS = {".py", ".md", ".js", ".html", ".toml", ".yml", ".yaml", ".sh", ".sql", ""}
#: History keeps its words; figures and samples are data; licences are other people's.
SKIPPED = (
    "CHANGELOG.md",
    "LICENSE",
    "scripts/check_words.py",
    "bench/results/",
    "capacity/data/",
    "migrations/versions/",
    "tests/data/",
    "web/static/vendor/",
)


@dataclass(frozen=True)
class Rule:
    """A word of our own making, and what the field says."""

    pattern: str
    say: str
    allowed: tuple[str, ...] = ()


RULES = (
    Rule(
        r"(?i)\brooms\b|\b(every|this|that|which|each|other|own) room\b(?! (for|in|left|to))",
        "package, layer",
    ),
    # The option, the column and the label keep their public name `tier`.
    Rule(r"\bTier\b|\btiers\b|\b[Tt]ier of\b|_tier\b|\btier_", "priority class"),
    Rule(r"(?i)\bartifact parts?\b", "multipart objects"),
    Rule(r"(?i)\btwins?\b", "reference implementation"),
    Rule(r"(?i)\b_?settl(e|es|ed|ing)(_|\b)", "resolve contact"),
    Rule(r"(?i)\bmade[-_ ]up\b", "synthetic"),
    Rule(r"(?i)(\b|_)spots?\b", "keypoint match"),
    Rule(r"(?i)\bwords? of the network\b|(\b|_)beliefs?\b", "confidence, weight"),
    Rule(r"(?i)\b_?mend(s|ed|ing)?(_|\b)", "repair"),
    # Metric, label and log line keep their public names.
    Rule(
        r"(?i)\bchores?(_|\b)",
        "periodic task",
        (r"face3d_chore_\w+", r"\bchore\\?\.[\w\\]+", r"[\"`]chore[\"`]", r"\bchore=", r"\| chore:"),
    ),
    Rule(
        r"(?i)\btid(y|ies|ied|ying)(_|\b)",
        "garbage-collect",
        (r"tidied_at", r"tidying\.job_failed", r"jobs\.tidied", r"\"tidy_jobs\""),
    ),
    Rule(r"(?i)\blets? expect\b", "predicts"),
    Rule(r"(?i)\bso many\b", "N"),
)


def find_words(name: str, text: str) -> list[str]:
    """Return a line for each home-made word in a file's text."""
    found = []
    for rule in RULES:
        pattern = re.compile(rule.pattern)
        allowed = [re.compile(phrase) for phrase in rule.allowed]
        for number, line in enumerate(text.splitlines(), 1):
            rest = line
            for phrase in allowed:
                rest = phrase.sub("", rest)
            if match := pattern.search(rest):
                found.append(f"{name}:{number}: {match[0]!r}: say {rule.say}")
    return found


def main() -> int:
    """Check the files that git knows."""
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[str] = []
    for name in git.stdout.splitlines():
        path = ROOT / name
        if path.suffix not in ENDINGS or name.startswith(SKIPPED) or not path.is_file():
            continue
        try:
            found += find_words(name, f"{name}\n{path.read_text()}")
        except UnicodeDecodeError:
            continue
    for line in found:
        sys.stderr.write(f"{line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
