"""docs/reference/settings.md from the settings' own descriptions: `python -m cli.settings_doc`."""

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from face3d.settings import ROOT, Settings

PAGE = ROOT / "docs" / "reference" / "settings.md"

_HEAD = """# Settings

Every setting is an environment variable. `FACE3D_ENV_FILE` names a file of such lines; the local stack writes
one, `stack.env`, in its state folder, and the `face3d` command finds it by itself. Where both speak, the
environment wins.

This page is made by `python -m cli.settings_doc` from the descriptions in `face3d/settings.py`.

| variable | default | kind | meaning |
|---|---|---|---|
"""

#: Defaults that depend on the machine.
_COMPUTED = {
    "model_dir": "`<state folder>/models`",
    "state_dir": "`.face3d` in the checkout; as root `/var/lib/face3d/<id>`",
}


def settings_page() -> str:
    """Return the page's text."""
    return _HEAD + "".join(_row(name, info) for name, info in Settings.model_fields.items())


def _row(name: str, info: FieldInfo) -> str:
    cells = (f"`FACE3D_{name.upper()}`", _default(name, info), _kind(info.annotation), info.description or "")
    return "| " + " | ".join(cells) + " |\n"


def _default(name: str, info: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    value = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
    if value is None or value == "":
        return "(empty)"
    if isinstance(value, tuple):
        value = "[" + ", ".join(f"{item:g}" for item in value) + "]"
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`"


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "JSON list"
    parts = [part for part in get_args(annotation) if part is not NoneType]
    if parts:
        return " or ".join(_kind(part) for part in parts)
    names = {SecretStr: "secret", str: "text", int: "integer", float: "number", bool: "boolean", Path: "path"}
    return names.get(annotation, str(annotation))


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(settings_page())
