"""The rate-limit headers of a response as numbers.

Source: platform.claude.com/docs, rate limits, response headers, read 2026-11-21.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import NamedTuple

#: Rate-limit headers by lower-case name, as they came.
RateLimitHeaders = Mapping[bytes, bytes]
#: What the names of the family begin with.
PREFIXES = (b"anthropic-ratelimit-", b"anthropic-priority-", b"anthropic-fast-")


class RateLimit(NamedTuple):
    """One resource of the rate-limit headers; a part that was not sent is None."""

    resource: str
    limit: float | None = None
    remaining: float | None = None
    reset_timestamp_seconds: float | None = None


def rate_limits(headers: RateLimitHeaders) -> list[RateLimit]:
    """One entry a resource, `priority_*` and `fast_*` where they were sent. Resets are RFC 3339 times on the wire."""
    found: dict[str, RateLimit] = {}
    for raw_name, raw_value in headers.items():
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        resource, _, part = name.rpartition("-")
        family, _, rest = resource.removeprefix("anthropic-").partition("-")
        resource = (rest if family == "ratelimit" else f"{family}_{rest}").replace("-", "_")
        limit = found.get(resource) or RateLimit(resource)
        found[resource] = _with_part(limit, part, value)
    return list(found.values())


def _with_part(limit: RateLimit, part: str, value: str) -> RateLimit:
    try:
        if part == "reset":
            moment = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
            return limit._replace(reset_timestamp_seconds=moment.timestamp())
        if part in ("limit", "remaining"):
            number = float(value)
            if math.isfinite(number):
                return limit._replace(limit=number) if part == "limit" else limit._replace(remaining=number)
    except (ValueError, OverflowError):
        return limit
    return limit
