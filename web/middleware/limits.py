"""What each route allows: whose token it wants, how large a body may be, which server its work may wait for.

The first rule that fits counts. A route that no rule names wants no token and takes little data.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from face3d.errors import ErrorCode
from face3d.settings import Settings
from web.middleware.lanes import Lane

#: Of a route that names no limit.
BODY_BYTES = 64 * 1024

#: AWS sends 256 KB at most, through SQS; SeaweedFS lists the chunks of large files.
EVENT_BYTES = 1024 * 1024

#: Room for the multipart frame and the options beside a photo.
FORM_BYTES = 64 * 1024


class Token(StrEnum):
    """Whose token a route wants."""

    API = "api"
    EVENTS = "events"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one route allows."""

    token: Token | None = None
    #: Largest body, bytes, and the code of the refusal of a larger one.
    body: int = BODY_BYTES
    too_large: str = "request_too_large"
    #: Bytes that a body may have beyond that: a form's frame.
    frame: int = 0
    #: The route reads its body itself, piece by piece; others get it when it is there as a whole.
    streamed: bool = False
    lane: Lane | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Limits of the routes whose method and path fit."""

    #: Fits `METHOD /path` from its beginning.
    pattern: re.Pattern[str]
    limits: Limits


def make_rules(settings: Settings) -> Sequence[Rule]:
    """Return the rules, the special ones first."""
    photo = Limits(
        token=Token.API,
        body=settings.max_bytes,
        too_large=ErrorCode.IMAGE_TOO_LARGE,
        frame=FORM_BYTES,
        streamed=True,
        lane=Lane.STORAGE,
    )
    stored = Limits(token=Token.API, lane=Lane.STORAGE)
    api = Limits(token=Token.API, lane=Lane.DATABASE)
    events = Limits(token=Token.EVENTS, body=EVENT_BYTES, too_large="invalid_event", lane=Lane.STORAGE)
    table = (
        (r"POST /v1/jobs/?$", photo),
        (r"DELETE /v1/jobs/", stored),
        (r"\w+ /v1/jobs/[^/]+/files/", stored),
        # It takes its places itself: few lookups ask the storage.
        (r"GET /v1/lookup/?$", Limits(token=Token.API)),
        (r"\w+ /v1(/|$)", api),
        (r"\w+ /metrics(/|$)", api),
        (r"\w+ /events(/|$)", events),
    )
    return [make_rule(pattern, limits) for pattern, limits in table]


def make_rule(pattern: str, limits: Limits) -> Rule:
    """Return a rule; the pattern fits `METHOD /path` from its beginning."""
    return Rule(pattern=re.compile(pattern), limits=limits)


def find_limits(rules: Sequence[Rule], method: str, path: str) -> Limits:
    """Return what a request's route allows."""
    request = f"{method} {path}"
    return next((rule.limits for rule in rules if rule.pattern.match(request)), Limits())
