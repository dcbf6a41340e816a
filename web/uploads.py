"""A photo with options in one multipart request: read with a limit, put in the inbox, made a job."""

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from db.acceptance import API_SOURCE, accept
from face3d.errors import StorageUnavailable
from face3d.options import METADATA_PREFIX, OPTION_NAMES, allowed_values, is_text, parse_options
from face3d.states import PriorityClass
from storage.erasure import erase_object
from storage.intake import option_defaults, refuse_size
from storage.layout import upload_key
from web.context import Context
from web.middleware.limits import FORM_BYTES
from web.problems import refuse

#: The form's field that holds the photo; every other field is an option.
PHOTO_FIELD = "photo"

#: What browsers and HTTP libraries write in a form; Latin-1 is how one reads bytes that are not UTF-8.
FORM_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1", b"latin1"})

#: Longest name that the file systems of Linux, macOS and Windows hold.
MAX_NAME = 255


@dataclass(frozen=True, kw_only=True)
class PhotoForm:
    """What a client sent."""

    data: bytes
    content_type: str
    #: Option name to text.
    options: dict[str, str]
    #: The file's name without its folders.
    name: str | None = None


def form_schema() -> dict[str, Any]:
    """Return the OpenAPI description of the form."""
    fields: dict[str, Any] = {
        name: {"type": "string", "description": allowed_values(name)} for name in OPTION_NAMES
    }
    photo = {"type": "string", "format": "binary", "description": "One frontal photo: JPEG, PNG, WebP, ..."}
    schema = {"type": "object", "required": [PHOTO_FIELD], "properties": {PHOTO_FIELD: photo, **fields}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def read_form(request: Request, *, max_bytes: int) -> PhotoForm:
    """Read the multipart form, whose size as a whole `web.middleware.limits` limits.

    Raises:
        RefusedError: `image_too_large`.
        ApiError: it is no such form.
    """
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    if media_type.lower() != b"multipart/form-data":
        raise refuse(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad_request", "Send the photo as multipart/form-data."
        )
    if parameters.get(b"charset", b"utf-8").lower() not in FORM_CHARSETS:
        raise refuse(HTTPStatus.BAD_REQUEST, "bad_request", "Send the form's text as UTF-8.")

    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=1,
        max_fields=len(OPTION_NAMES) + 8,
        max_part_size=FORM_BYTES,
    )
    # A photo is held in memory, as its size is limited, and never touches this machine's disk.
    parser.spool_max_size = max_bytes + FORM_BYTES
    form = await parser.parse()
    try:
        photo = form.get(PHOTO_FIELD)
        if not isinstance(photo, UploadFile):
            raise refuse(
                HTTPStatus.UNPROCESSABLE_ENTITY, "bad_request", f"The form has no file {PHOTO_FIELD!r}."
            )
        data = await photo.read()
        if len(data) > max_bytes:
            raise refuse_size(len(data), max_bytes)
        options = {name: value for name, value in form.items() if isinstance(value, str)}
        return PhotoForm(
            data=data,
            content_type=_media_type(photo.content_type),
            options=options,
            name=clean_name(photo.filename or ""),
        )
    finally:
        await form.close()


def accept_upload(context: Context, form: PhotoForm) -> str:
    """Put the photo in the inbox and make its job; returns the job's id.

    The options ride as metadata too, so that the storage's own event of this PUT finds the same job.
    An option left blank counts as not given.

    Raises:
        RefusedError: `bad_option`; then nothing was stored.
        StorageUnavailable: the photo could not be stored.
        DatabaseUnavailable: the job could not be made; then the photo is deleted again.
    """
    settings = context.settings
    given = {name: text for name, value in form.options.items() if (text := value.strip())}
    raw = {"tier": PriorityClass.INTERACTIVE.value, **given}
    options = parse_options(raw, defaults=option_defaults(settings))
    key = upload_key()
    etag = context.storage.put(
        settings.bucket_inbox,
        key,
        form.data,
        content_type=form.content_type,
        metadata={METADATA_PREFIX + name: value for name, value in raw.items()},
    )
    try:
        with context.sessions.begin() as session:
            return accept(
                session,
                bucket=settings.bucket_inbox,
                key=key,
                etag=etag,
                size=len(form.data),
                content_type=form.content_type,
                options=options,
                source=API_SOURCE,
                name=form.name,
            ).job_id
    except Exception:
        # The client is told to send it again: what stayed here, the sweep would make a second job of.
        with suppress(StorageUnavailable):
            erase_object(context.storage, settings.bucket_inbox, key, etag)
        raise


def clean_name(given: str) -> str | None:
    """Return a file's name as it can be shown: no folders, no control characters, 255 letters at most."""
    name = given.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if is_text(letter)).strip()
    return name[:MAX_NAME] or None


def _media_type(given: str | None) -> str:
    text = (given or "").partition(";")[0].strip().lower()
    return text if text.isascii() and text.isprintable() and "/" in text else "application/octet-stream"
