"""The rate-limit headers of a response as numbers.

Source: platform.claude.com/docs, rate limits, response headers, read 2026-11-21.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from anthropic_exporter.wire.headers import RateLimitHeaders

#: The API names 12 resources; what a server or a gateway names beyond this is not shown.
_MOST_RESOURCES = 20
_FIRST_YEAR = 1970
_RESOURCE = re.compile(r"[a-z][a-z0-9_]{0,63}").fullmatch
_NUMBER = re.compile(r"\d{1,15}(?:\.\d+)?").fullmatch
# RFC 3339. Fractions of a second do not matter, and Python 3.10 reads few of them.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))").fullmatch


class RateLimit(NamedTuple):
    """One resource of the rate-limit headers; a part that was not sent is None."""

    resource: str
    limit: float | None = None
    remaining: float | None = None
    reset_timestamp_seconds: float | None = None


def rate_limits(headers: RateLimitHeaders) -> list[RateLimit]:
    """One entry a resource, `priority_*` and `fast_*` where they were sent. Resets are RFC 3339 times on the wire.

    What is not a number, no time or no name of a resource is left out.
    """
    found: dict[str, RateLimit] = {}
    for raw_name, raw_value in headers.items():
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        resource, _, part = name.rpartition("-")
        family, _, rest = resource.removeprefix("anthropic-").partition("-")
        resource = (rest if family == "ratelimit" else f"{family}_{rest}").replace("-", "_")
        if resource in found or (_RESOURCE(resource) and len(found) < _MOST_RESOURCES):
            found[resource] = _with_part(found.get(resource) or RateLimit(resource), part, value)
    return list(found.values())


def _with_part(limit: RateLimit, part: str, value: str) -> RateLimit:
    if part == "reset":
        return limit._replace(reset_timestamp_seconds=_timestamp(value))
    if part in ("limit", "remaining") and _NUMBER(value):
        number = float(value)
        return limit._replace(limit=number) if part == "limit" else limit._replace(remaining=number)
    return limit


def _timestamp(value: str) -> float | None:
    """Seconds since the epoch; None for what is not a time of it."""
    found = _TIME(value)
    try:
        moment = dt.datetime.fromisoformat(f"{found[1].upper()}{found[2] or '+00:00'}") if found else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.year >= _FIRST_YEAR else None
