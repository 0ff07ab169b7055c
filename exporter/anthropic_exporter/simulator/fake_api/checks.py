"""The requests that the fake API refuses, with the API's own error types."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from anthropic_exporter.simulator.fake_api import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic_exporter.simulator.fake_api.script import ReceivedRequest

VERSIONS = frozenset({"2023-01-01", "2023-06-01", "2026-10-21"})
_RETRYABLE = {"rate_limit_error": 1, "overloaded_error": 1}
_TEXTS = {
    "rate_limit_error": "This request would exceed your organization's rate limit.",
    "overloaded_error": "Overloaded",
    "api_error": "Internal server error",
    "authentication_error": "invalid x-api-key",
}


class Refused(Exception):  # noqa: N818 -- an answer of the API, no failure of ours
    """A refused request; `retry_after` is in whole seconds, or None without the header."""

    def __init__(self, error_type: str, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.error_type = error_type
        self.text = text
        self.retry_after = retry_after
        self.status = wire.STATUS.get(error_type, 500)


def request(received: ReceivedRequest, keys: frozenset[str]) -> str:
    """The caller's key, standing for its workspace.

    Raises:
        Refused: a missing or wrong key or `anthropic-version`, or a body that is not a JSON object.
    """
    key = received.headers.get("x-api-key") or received.headers.get("authorization", "").removeprefix("Bearer ")
    if not key or (keys and key not in keys):
        raise Refused("authentication_error", _TEXTS["authentication_error"] if key else "x-api-key header is required")
    version = received.headers.get("anthropic-version")
    if version not in VERSIONS:
        told = f'"{version}" is not a valid version' if version else "header is required"
        raise Refused("invalid_request_error", f"anthropic-version: {told}")
    if not isinstance(received.body, dict):
        raise Refused("invalid_request_error", "The request body is not valid JSON")
    return key


def message(body: Mapping[str, Any]) -> None:
    """Check the fields that every message needs.

    Raises:
        Refused: a field is missing or wrong, or the model does not exist.
    """
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refused("invalid_request_error", f"{name}: Field required")
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 0:
        raise Refused("invalid_request_error", "max_tokens: Input should be greater than or equal to 0")
    if not body["messages"]:
        raise Refused("invalid_request_error", "messages: at least one message is required")
    if not str(body["model"]).startswith("claude-"):
        raise Refused("not_found_error", f"model: {body['model']}")


def fault(error_type: str) -> None:
    """Raise the fault that was drawn, if any."""
    if error_type:
        raise Refused(error_type, _TEXTS.get(error_type, error_type), _RETRYABLE.get(error_type))


def room(wait: float) -> None:
    """Refuse with 429 if the caller has to wait."""
    if wait > 0:
        raise Refused("rate_limit_error", _TEXTS["rate_limit_error"], math.ceil(wait))
