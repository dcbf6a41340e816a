"""Values of stack.env, which settings and shells read alike."""

import re

from face3d.errors import ConfigurationError


def quote(value: str) -> str:
    """Return a value as both a POSIX shell and an environment file's reader take it literally.

    Raises:
        ConfigurationError: the two disagree about its characters.
    """
    if re.fullmatch(r"[\w@%+=:,./-]*", value, re.ASCII):
        return value
    if not re.search(r"['\\\n]|\$\{", value):
        return f"'{value}'"
    if not re.search(r'["\\$`\n]', value):
        return f'"{value}"'
    raise ConfigurationError("A setting of the local stack has characters that no settings file can hold.")
