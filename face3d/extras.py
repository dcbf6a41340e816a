"""The extras of an installation (pyproject.toml), and what a process says where one is missing."""

import re
from collections.abc import Iterator
from importlib import metadata

from face3d.errors import ConfigurationError

PROJECT = "face3d"

#: A requirement of an extra as metadata spells it: `torch>=2.11; extra == "worker"`.
_REQUIREMENT = re.compile(r"""([\w.-]+)(?:\[([\w,\s-]+)\])?[^;]*;.*\bextra == ["']([\w-]+)["']""")


class ExtraMissing(ConfigurationError):
    """An extra that this process needs is not installed."""

    code = "extra_missing"


def require_extra(extra: str) -> None:
    """Return where all packages of an extra are installed; imports none of them.

    Args:
        extra: worker, web or local.
    Raises:
        ExtraMissing: one is not there; the message begins with the code.
    """
    if missing := [name for name in packages_of(extra) if not _is_installed(name)]:
        raise ExtraMissing(
            f"{ExtraMissing.code}: extra {extra!r} is needed here, and of it {', '.join(missing)} is not "
            f"installed. In the checkout: pip install -c requirements.lock -e '.[{extra}]'"
        )


def is_chosen(extra: str) -> bool:
    """Tell whether an extra is meant to be here: all or some of its packages are installed."""
    packages = list(packages_of(extra))
    return not packages or any(map(_is_installed, packages))


def packages_of(extra: str) -> Iterator[str]:
    """Yield the names of an extra's packages; none where face3d itself is not installed."""
    try:
        requirements = metadata.requires(PROJECT) or ()
    except metadata.PackageNotFoundError:
        # A folder on PYTHONPATH: what it needs is the caller's affair.
        return
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match[3] != extra:
            continue
        if match[1] == PROJECT:
            for held in match[2].split(","):
                yield from packages_of(held.strip())
        else:
            yield match[1]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
