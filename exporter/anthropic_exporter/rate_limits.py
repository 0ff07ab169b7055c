"""The rate-limit headers of a response as numbers.

Source: platform.claude.com/docs, rate limits, response headers, read 2026-11-21.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

_PREFIXES = ("anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-")


class RateLimit(NamedTuple):
    """One resource of the rate-limit headers; a part that was not sent is None."""

    resource: str
    limit: float | None = None
    remaining: float | None = None
    reset_timestamp_seconds: float | None = None


def rate_limits(headers: Iterable[tuple[str, str]]) -> list[RateLimit]:
    """One entry a resource, `priority_*` and `fast_*` where they were sent. Resets are RFC 3339 times on the wire."""
    found: dict[str, RateLimit] = {}
    for name, value in headers:
        resource, _, part = name.rpartition("-")
        family, _, rest = resource.removeprefix("anthropic-").partition("-")
        resource = (rest if family == "ratelimit" else f"{family}_{rest}").replace("-", "_")
        limit = found.get(resource) or RateLimit(resource)
        found[resource] = _with_part(limit, part, value)
    return list(found.values())


def is_rate_limit_header(name: str) -> bool:
    """Whether a lower-case response header belongs to the rate-limit family."""
    return name.startswith(_PREFIXES)


def _with_part(limit: RateLimit, part: str, value: str) -> RateLimit:
    try:
        if part == "reset":
            moment = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
            return limit._replace(reset_timestamp_seconds=moment.timestamp())
        if part in ("limit", "remaining"):
            return limit._replace(limit=float(value)) if part == "limit" else limit._replace(remaining=float(value))
    except (ValueError, OverflowError):
        return limit
    return limit
