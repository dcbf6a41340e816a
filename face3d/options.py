"""The options of a job (docs/design.md, section 5): names, allowed values, parsing, digest."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from face3d.errors import ErrorCode, RefusedError
from face3d.states import PriorityClass

#: Object metadata with this prefix carries options: `x-amz-meta-face3d-<option>`.
METADATA_PREFIX = "face3d-"

#: Longer than any option's value.
_MAX_TEXT = 500

#: What a GPU type's profile decides for jobs that say nothing.
PROFILE_OPTIONS = ("input-size", "sharpen", "compile")

#: What the caller wrote in words of its own: personal data.
FREE_TEXT_OPTIONS = ("view-of", "ref")

EngineName = Literal["anny", "hrn", "null"]
TextureSize = Literal[4096, 1024, 2048, 8192]
TextureFormat = Literal["png", "webp", "jpeg"]
InputSize = Literal[1280, 960, 2048, 4096, 7680]
CompileMode = Literal["auto", "off", "reduce-overhead", "max-autotune"]
AssetFormat = Literal["glb", "obj", "maps", "preview", "lods", "front"]
LevelOfDetail = Literal[0, 1, 2]
PartsLayout = Literal["merged", "separate"]
BustMode = Literal["auto", "on", "off"]

#: Names that option `gpu-type` takes; `any` lets the router choose.
GPU_TYPE_NAMES = ("cpu", "a100", "a800", "v100", "t4", "h100", "h200", "l4", "l40s")


def _to_kebab(name: str) -> str:
    return name.replace("_", "-")


class JobOptions(BaseModel):
    """What a caller may choose for one job. Field names in kebab case are the option names."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_to_kebab, populate_by_name=True)

    engine: EngineName = "anny"
    tier: PriorityClass = PriorityClass.BATCH
    gpu_type: str = Field(default="any", description="any, or a GPU type's name")
    texture_size: TextureSize = 4096
    texture_format: TextureFormat = "png"
    input_size: InputSize = 1280
    sharpen: bool = True
    expression: Literal["neutral", "photo"] = "neutral"
    compile: CompileMode = "auto"
    lod: LevelOfDetail = 0
    parts: PartsLayout = "merged"
    bust: BustMode = "auto"
    formats: tuple[AssetFormat, ...] = ("glb", "obj", "maps", "preview")
    view_of: str | None = Field(default=None, min_length=1, max_length=_MAX_TEXT)
    ref: str | None = Field(default=None, max_length=200)

    @field_validator("gpu_type")
    @classmethod
    def _known_gpu_type(cls, value: str) -> str:
        if value != "any" and value not in GPU_TYPE_NAMES:
            raise ValueError("there is no GPU type of that name")
        return value

    @field_validator("formats")
    @classmethod
    def _front_of_its_engine(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "front" in value and info.data.get("engine") != "hrn":
            raise ValueError("only engine hrn has a front of its own")
        return value

    @field_validator("view_of")
    @classmethod
    def _view_of_an_engine_that_takes_two(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("engine") == "hrn":
            raise ValueError("engine hrn reconstructs from one photo, and cannot take a second view")
        return value

    def stated(self) -> list[str]:
        """Return the names of the options that the caller stated, sorted; a default may be among them."""
        return sorted(_to_kebab(name) for name in self.model_fields_set)

    def digest(self) -> str:
        """Return the hex digest that, with bucket, key and etag, identifies a job.

        `tier`, `gpu-type` and `compile` change where and when a job runs, not its asset; they count
        all the same, because a caller who states them expects a job that obeys them.
        """
        document = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        # A stated default holds on weak cards too, where an unstated one gives way to the card's profile.
        stated = set(self.stated())
        document |= {
            name: value
            for name, value in self.model_dump(mode="json", by_alias=True).items()
            if name in stated and name in PROFILE_OPTIONS
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def allowed_values(option: str) -> str:
    """Return the allowed values of an option as a sentence fragment for error messages."""
    match option:
        case "engine":
            return ", ".join(get_args(EngineName))
        case "tier":
            return ", ".join(tier.value for tier in PriorityClass)
        case "gpu-type":
            return ", ".join(("any", *GPU_TYPE_NAMES))
        case "texture-size":
            return ", ".join(str(size) for size in sorted(get_args(TextureSize)))
        case "texture-format":
            return ", ".join(get_args(TextureFormat))
        case "input-size":
            return ", ".join(str(size) for size in sorted(get_args(InputSize)))
        case "sharpen":
            return "on, off"
        case "expression":
            return "neutral, photo"
        case "compile":
            return ", ".join(get_args(CompileMode))
        case "lod":
            return ", ".join(str(level) for level in get_args(LevelOfDetail))
        case "parts":
            return ", ".join(get_args(PartsLayout))
        case "bust":
            return ", ".join(get_args(BustMode))
        case "formats":
            return (
                "a comma-separated list of " + ", ".join(get_args(AssetFormat)) + " (front: engine hrn only)"
            )
        case "view-of":
            return "the key of a photo in the same bucket (not with engine hrn)"
        case "ref":
            return "text of at most 200 characters"
    return ""


OPTION_NAMES: tuple[str, ...] = tuple(_to_kebab(name) for name in JobOptions.model_fields)


def parse_options(raw: Mapping[str, str], *, defaults: Mapping[str, str] | None = None) -> JobOptions:
    """Return the options that a caller wrote as text.

    Args:
        raw: option name (kebab case, no prefix) to text.
        defaults: what holds where the caller says nothing (e.g. tier=interactive for the API).
    Raises:
        RefusedError: `bad_option`, with the value and the allowed values.
    """
    values: dict[str, object] = {}
    for name, text in {**(defaults or {}), **raw}.items():
        if name not in OPTION_NAMES:
            raise RefusedError(
                ErrorCode.BAD_OPTION,
                "There is no option of that name.",
                value=_show(name),
                limit=", ".join(OPTION_NAMES),
            )
        if len(text) > _MAX_TEXT or not is_text(text):
            raise RefusedError(
                ErrorCode.BAD_OPTION,
                f"Option {name} holds control characters or is too long.",
                value=ascii(text[:50]),
                limit=allowed_values(name),
            )
        values[name] = _from_text(name, text.strip())
    try:
        return JobOptions.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = _to_kebab(str(first["loc"][0]))
        # Only our own validators say it in words that a caller understands.
        reason = f": {first['ctx']['error']}." if first["type"] == "value_error" else "."
        raise RefusedError(
            ErrorCode.BAD_OPTION,
            f"Option {name} does not take that value{reason}",
            value=str(raw.get(name, ""))[:100],
            limit=allowed_values(name),
        ) from error


def bust_is_on(options: JobOptions, facts: Mapping[str, Any]) -> bool:
    """Tell whether the head is delivered with shoulders.

    Args:
        facts: of the photo (`PreprocessedPhoto.facts`): with `hair_below_jaw` there is hair to lie on them.
    """
    return options.bust == "on" or (options.bust == "auto" and bool(facts.get("hair_below_jaw", False)))


def is_text(value: str) -> bool:
    """Tell whether a value is text that JSON and the database take: no control character, no half letter."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value)


def _show(value: str) -> str:
    return value[:100] if is_text(value[:100]) else ascii(value[:50])


def _from_text(name: str, text: str) -> object:
    if name == "formats":
        return tuple(part.strip() for part in text.split(",") if part.strip()) or (text,)
    if name == "sharpen":
        return {"on": True, "off": False}.get(text, text + "?")
    if name in ("texture-size", "input-size", "lod") and text.isascii() and text.isdigit():
        return int(text)
    return text


def options_from_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the raw options among an object's user metadata (names lowercased, prefix removed)."""
    return {
        name.lower().removeprefix(METADATA_PREFIX): value
        for name, value in metadata.items()
        if name.lower().startswith(METADATA_PREFIX)
    }
