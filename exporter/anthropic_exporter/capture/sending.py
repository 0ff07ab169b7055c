"""The attempts that are being sent from here: a client may carry the middleware of one recorder twice."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class Sending:
    """An attempt that is being sent in this context. Nothing has to be set back when it ends.

    Attributes:
        recorder: who watches it.
        key: the SDK's idempotency key.
        retries: how many attempts of the same request were made before.
        url: where it goes, as the SDK's options name it.
        outer: the attempt that it is sent inside of, by a middleware further out.
        has_ended: whether its response, or an exception, came.
    """

    __slots__ = ("has_ended", "key", "outer", "recorder", "retries", "url")

    def __init__(self, recorder: Any, key: Any, retries: int, url: str) -> None:
        self.recorder, self.key, self.retries, self.url = recorder, key, retries, url
        self.outer: Sending | None = None
        self.has_ended = False


#: The innermost attempt of this context; it may have ended.
innermost: ContextVar[Sending | None] = ContextVar("anthropic_exporter_sending", default=None)


def under_way(sending: Sending | None) -> Sending | None:
    """The innermost attempt that has not ended, from this one outwards."""
    while sending is not None and sending.has_ended:
        sending = sending.outer
    return sending


def is_sent_by(sending: Sending | None, recorder: Any, request: Any) -> bool:
    """Whether a request is being sent already by one of these attempts."""
    options = request.options
    name = (recorder, options.idempotency_key, request.retries_taken, options.url)
    while sending is not None:
        if (sending.recorder, sending.key, sending.retries, sending.url) == name:
            return True
        sending = sending.outer
    return False
