"""Joins the attempts of one logical call by the SDK's idempotency key, which they share."""

from __future__ import annotations

from typing import NamedTuple

from anthropic_exporter.call import CONNECTION_ERROR, TIMEOUT
from anthropic_exporter.kept_text import kept

_MOST = 4096
_FIRST_ERROR_STATUS = 400
#: The SDK waits at most 8 s between attempts unless the server names a time; no retry comes much later.
PATIENCE_SECONDS = 90.0
_RETRIED_STATUSES = frozenset({408, 409, 429})
_FIRST_SERVER_ERROR = 500


def may_be_retried(status: int, should_retry: str, outcome: str) -> bool:
    """Whether the SDK tries again after such an attempt, if it has tries left.

    Source: `_should_retry` and `_should_retry_exception` of the SDK, the same in 0.108.0 and 2.12.0.

    Args:
        status: the HTTP status; 0 where no response came.
        should_retry: the response header `x-should-retry`, which decides where it is sent.
        outcome: the outcome of the attempt.
    """
    if not status:
        return outcome in (TIMEOUT, CONNECTION_ERROR)
    if should_retry in ("true", "false"):
        return should_retry == "true" and status >= _FIRST_ERROR_STATUS
    return status in _RETRIED_STATUSES or status >= _FIRST_SERVER_ERROR


class Failed(NamedTuple):
    """An attempt that failed and may be retried. Times are those of `time.perf_counter()`.

    `began` is the start of the call's first attempt, `deadline` the time after which it is not retried.
    """

    outcome: str
    model: str = ""
    feature: str = ""
    began: float = 0.0
    ended: float = 0.0
    deadline: float = float("inf")


class Retries:
    """Failed attempts by idempotency key. No lock: single operations on a dict, because a finalizer may come between.

    A call's last failed attempt is never looked up: it is given up at its deadline, or dropped if there are too many.
    """

    def __init__(self) -> None:
        self._failed: dict[str, Failed] = {}

    def failed(self, key: str | None, failed: Failed) -> None:
        """Remember a failed attempt."""
        if key is not None:
            self._failed[kept(key)] = failed._replace(model=kept(failed.model), feature=kept(failed.feature))
            if len(self._failed) > _MOST:
                self._failed.pop(next(iter(self._failed)), None)

    def before(self, key: str | None) -> Failed | None:
        """The attempt before this one, removed; None if it was not seen."""
        return self._failed.pop(kept(key or ""), None)

    def given_up(self, now: float) -> list[Failed]:
        """Remove and return the calls whose last attempt failed and that will not be retried."""
        late = [key for key, failed in self._failed.copy().items() if failed.deadline < now]
        taken = [self._failed.pop(key, None) for key in late]
        return [failed for failed in taken if failed is not None]
