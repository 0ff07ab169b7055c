"""Turns error bodies into outcomes: always a documented word, never free text of a server or a gateway.

Sources: `ErrorType` and the `*SpendLimitReachedError` types of the SDK 2.14.0; platform.claude.com/docs, *errors*, read
2026-11-21; the exceptions of InvokeModelWithResponseStream in the Amazon Bedrock API reference; google.rpc.Code. All
read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anthropic_exporter.call import API_ERRORS, SPEND_CAPS

_FIRST_ERROR_STATUS, _FIRST_SERVER_ERROR, _LAST_STATUS, _STATUS_DIGITS = 400, 500, 599, 3
#: Keys under which servers and gateways describe an error; no message has one of them.
_ERROR_KEYS = ("error", "errors", "Error", "fault", "__type")
_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: These statuses are more reliable than the error's type.
_DECISIVE_STATUSES = frozenset({429, 529})
#: Words that platforms send in a stream, after HTTP 200: in lower case, letters alone.
_STATUS_OF_WORD = {
    "throttlingexception": 429,
    "throttling": 429,
    "toomanyrequestsexception": 429,
    "toomanyrequests": 429,
    "modelnotreadyexception": 429,
    "servicequotaexceededexception": 429,
    "ratelimitexceeded": 429,
    "ratelimitreached": 429,
    "ratelimit": 429,
    "resourceexhausted": 429,
    "overloaded": 529,
    "overloadedexception": 529,
    "modeltimeoutexception": 504,
    "requesttimeoutexception": 504,
    "requesttimeout": 504,
    "timeout": 504,
    "deadlineexceeded": 504,
    "validationexception": 400,
    "badrequest": 400,
    "invalidargument": 400,
    "failedprecondition": 400,
    "accessdeniedexception": 403,
    "permissiondenied": 403,
    "forbidden": 403,
    "unauthenticated": 401,
    "unauthorized": 401,
    "unrecognizedclientexception": 401,
    "expiredtokenexception": 401,
    "resourcenotfoundexception": 404,
    "notfound": 404,
}


def error_type(body: Any, status: int) -> str:
    """The documented `error.type` of an error body.

    A spend cap answers 429 as a rate limit does, but waiting does not help: its `error_code` is returned. Of the rest,
    429 is always `rate_limit_error` and 529 `overloaded_error`; elsewhere a documented word counts, and any other word
    becomes the type of the status.

    Args:
        body: the JSON body, or the data of an error event; anything else where it was not read.
        status: the HTTP status; below 400 where the error came after a successful status.
    """
    error = _error_of(body)
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    if isinstance(code, str) and code in SPEND_CAPS:
        return code
    word = error.get("type")
    word = word if isinstance(word, str) else ""
    if status not in _DECISIVE_STATUSES and word in API_ERRORS:
        return word
    return _type_of_status(status if status >= _FIRST_ERROR_STATUS else _status_inside(error, word))


def is_error(body: Any) -> bool:
    """Whether a body with a successful status is an error."""
    body = _first_of(body)
    if not isinstance(body, Mapping):
        return False
    if body.get("type") == "error":
        return True
    if body.get("type") == "message" or body.get("content") or _counts_tokens(body.get("usage")):
        return False
    return any(body.get(key) for key in _ERROR_KEYS) or _status_of(body) > 0


def _first_of(body: Any) -> Any:
    """Google Cloud sends the error of a stream as a list of one."""
    return body[0] if isinstance(body, list) and len(body) == 1 else body


def _error_of(body: Any) -> Mapping[str, Any]:
    """The object that describes the error: the one below `error`, or the body itself if a gateway has none."""
    body = _first_of(body)
    if not isinstance(body, Mapping):
        return {}
    for key in ("error", "errors", "Error", "fault"):
        error = _first_of(body.get(key))
        if isinstance(error, Mapping):
            return error
    return {} if body.get("type") == "error" else body


def _counts_tokens(usage: Any) -> bool:
    return isinstance(usage, Mapping) and any(usage.values())


def _status_inside(error: Mapping[str, Any], word: str) -> int:
    """The HTTP status that an error without one corresponds to; 500 if unknown."""
    status = _status_of({**error, "type": word})
    if status:
        return status
    words = (word, error.get("code"), error.get("Code"), error.get("status"), _behind_hash(error.get("__type")))
    found = (_STATUS_OF_WORD.get(_letters(one)) for one in words if isinstance(one, str))
    return next((status for status in found if status), _FIRST_SERVER_ERROR)


def _status_of(error: Mapping[str, Any]) -> int:
    """The HTTP status that an error names, as a number or as text; 0 if it names none."""
    for key in ("code", "status", "status_code", "http_code", "statusCode", "type"):
        value = error.get(key)
        if isinstance(value, str) and len(value) == _STATUS_DIGITS and value.isdecimal():
            value = int(value)
        if isinstance(value, int | float) and _FIRST_ERROR_STATUS <= value <= _LAST_STATUS:
            return int(value)
    return 0


def _behind_hash(word: Any) -> Any:
    """`ThrottlingException` of `com.amazon.coral.availability#ThrottlingException`."""
    return word.rpartition("#")[2] if isinstance(word, str) else word


def _letters(word: str) -> str:
    return re.sub(r"[^a-z]", "", word[:64].lower().removesuffix("error").removesuffix("_"))


def _type_of_status(status: int) -> str:
    return _OF_STATUS.get(status) or ("api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error")
