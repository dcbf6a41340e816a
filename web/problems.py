"""Every error leaves as JSON `{code, message, value, limit}`: the same four fields that webhooks carry."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from db.delivery_list import DeliveryNotFound, NotRedeliverable
from db.lifecycle import WrongJobState
from db.queries import JobNotFound
from db.session import DatabaseUnavailable
from db.subscriptions import SubscriptionNotFound
from db.webhooks import EndpointDisabled, EndpointNotFound
from face3d.errors import (
    EngineUnavailable,
    ErrorCode,
    Face3DError,
    InvalidEvent,
    RefusedError,
    StorageUnavailable,
)
from storage.errors import ObjectMissing, ObjectRefused
from storage.sns import AmazonUnavailable, NotConfirmed

log = structlog.get_logger(__name__)

#: What an answer of 503 asks for.
RETRY_SECONDS = "2"


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="What a program switches on.", examples=["bad_option"])
    message: str = Field(description="One sentence for a person.")
    value: str | float | None = Field(default=None, description="What was given or measured.")
    limit: str | float | None = Field(default=None, description="What is allowed.")


class ApiError(Face3DError):
    """A request that cannot be served.

    Args:
        status: HTTP status.
        problem: the body.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: HTTPStatus, problem: Problem, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem
        self.headers = dict(headers or {})


#: For the OpenAPI document: what any call may be answered; calls add what is their own.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or a wrong one."},
    422: {"model": Problem, "description": "What was sent cannot be used."},
    503: {
        "model": Problem,
        "description": "A server does not answer, or too many calls wait for it: try again.",
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
    "default": {"model": Problem, "description": "Any other error."},
}


def refuse(status: HTTPStatus, code: str, message: str) -> ApiError:
    """Return the error of a simple refusal."""
    return ApiError(status, Problem(code=code, message=message))


def refuse_with(status: HTTPStatus, problem: Problem) -> ApiError:
    """Return the error of a refusal that tells a measured value or a limit."""
    return ApiError(status, problem)


#: Errors of the other rooms: status and code.
_STATUS: dict[type[Face3DError], tuple[HTTPStatus, str]] = {
    JobNotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    EndpointNotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    DeliveryNotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    EndpointDisabled: (HTTPStatus.CONFLICT, "wrong_state"),
    NotRedeliverable: (HTTPStatus.CONFLICT, "wrong_state"),
    SubscriptionNotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    ObjectMissing: (HTTPStatus.NOT_FOUND, "not_found"),
    WrongJobState: (HTTPStatus.CONFLICT, "wrong_state"),
    ObjectRefused: (HTTPStatus.BAD_REQUEST, "key_refused"),
    NotConfirmed: (HTTPStatus.CONFLICT, "not_confirmed"),
    AmazonUnavailable: (HTTPStatus.BAD_GATEWAY, "amazon_unavailable"),
    InvalidEvent: (HTTPStatus.BAD_REQUEST, "invalid_event"),
    DatabaseUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable"),
    StorageUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.STORAGE_UNAVAILABLE.value),
    EngineUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.ENGINE_UNAVAILABLE.value),
}


def install_handlers(app: FastAPI) -> None:
    """Make the app answer every error with a `Problem`."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


def answer_error(request: Request, error: Exception) -> Response:
    """Return the answer to an error that was raised outside of the app's routes."""
    answer = next(
        _ANSWERS[kind] for kind in type(error).__mro__ if issubclass(kind, Exception) and kind in _ANSWERS
    )
    return answer(request, error)


def _json(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    more = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return JSONResponse(problem.model_dump(), status_code=status, headers={**more, **(headers or {})})


def _answer_ours(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ApiError):
        return _json(error.status, error.problem, error.headers)
    if isinstance(error, RefusedError):
        status = (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            if error.code is ErrorCode.IMAGE_TOO_LARGE
            else HTTPStatus.UNPROCESSABLE_ENTITY
        )
        problem = Problem(code=error.code, message=error.message, value=error.value, limit=error.limit)
        return _json(status, problem)
    for kind, (status, code) in _STATUS.items():
        if isinstance(error, kind):
            return _json(status, Problem(code=code, message=str(error)))
    return _answer_unknown(_, error)


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED and (methods := _allowed_methods(request)):
        headers["Allow"] = ", ".join(methods)
    problem = Problem(code=status.name.lower(), message=status.description or status.phrase)
    return _json(status, problem, headers)


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes of a path: the router's own answer names those of the first one only.

    None for files, whose mount takes every method and names the allowed ones itself.
    """
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _answer_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return _json(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        Problem(code="bad_request", message=f"{name or 'The request'}: {first['msg']}."),
    )


def _answer_multipart(_: Request, error: Exception) -> JSONResponse:
    return _json(HTTPStatus.BAD_REQUEST, Problem(code="bad_request", message=str(error)))


def _answer_nobody(_: Request, _error: Exception) -> Response:
    # The server drops it: the client has left, which is no fault of ours to be logged.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _answer_data(_: Request, _error: Exception) -> JSONResponse:
    problem = Problem(code="bad_request", message="A value cannot be stored: is there a control character?")
    return _json(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


def _answer_database(_: Request, error: Exception) -> JSONResponse:
    log.error("database failed", error=type(error).__name__)
    problem = Problem(code="database_unavailable", message="The database did not answer as it should.")
    return _json(HTTPStatus.SERVICE_UNAVAILABLE, problem)


def _answer_unknown(_: Request, error: Exception) -> JSONResponse:
    log.error("request failed", error=type(error).__name__)
    problem = Problem(code=ErrorCode.INTERNAL_ERROR, message="Something went wrong on our side.")
    return _json(HTTPStatus.INTERNAL_SERVER_ERROR, problem)


#: Kind of error to its answer.
_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    Face3DError: _answer_ours,
    HTTPException: _answer_http,
    RequestValidationError: _answer_validation,
    MultiPartException: _answer_multipart,
    ClientDisconnect: _answer_nobody,
    DataError: _answer_data,
    DBAPIError: _answer_database,
    # All connections of the pool are in use.
    PoolTimeout: _answer_database,
    Exception: _answer_unknown,
}
