"""The exceptions of this library: raised at set-up, and into a call only by a breaker with action="block".

AnthropicExporterError
  + ConfigurationError     a wrong argument, file, address or registry; the message is one line that says what to do
  + SpendLimitExceeded     a breaker with action="block" is open; the request was not sent
"""

from __future__ import annotations

import datetime as dt

_LONGEST = 2_000


class AnthropicExporterError(Exception):
    """Base class of everything this library raises on purpose."""


class ConfigurationError(AnthropicExporterError):
    """A wrong argument, file, address or registry. One line: where, and what to do. The CLI exits with code 2.

    Text of a file or an address in it is escaped: it forges no second line and controls no terminal.
    """

    def __init__(self, message: str = "") -> None:
        from anthropic_exporter.escaping import for_log  # noqa: PLC0415 - only mistakes need it

        super().__init__(for_log(message, _LONGEST))


class SpendLimitExceeded(AnthropicExporterError):  # noqa: N818 - users catch it by what happened
    """A breaker of the Guard is open: this request was not sent and cost nothing.

    Attributes:
        scope: what is blocked: "feature", "model", "total" or "task".
        name: which feature, model or task; empty for all of them.
        reason: the condition that opened the breaker, such as "cost_rate", or "manual".
        limit: what was measured and the threshold, in words.
        window: the time over which it was measured, in words.
        retry_at: seconds since the epoch at which the next request is let through; None if waiting does not help.
    """

    def __init__(self, scope: str, name: str, reason: str, limit: str, window: str, retry_at: float | None) -> None:
        super().__init__(scope, name, reason, limit, window, retry_at)  # what pickling passes on
        self.scope = scope
        self.name = name
        self.reason = reason
        self.limit = limit
        self.window = window
        self.retry_at = retry_at

    def __str__(self) -> str:
        what = "every request" if self.scope == "total" else f"{self.scope} {self.name!r}"
        if self.retry_at is None:
            again = "no retry"
        else:
            again = f"retry at {dt.datetime.fromtimestamp(self.retry_at, dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        return f"{what} is blocked ({self.reason}): {self.limit} ({self.window}); {again}"
