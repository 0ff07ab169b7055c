"""Picks the headers that an attempt needs in one pass: an API response has some 25 of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: Rate-limit headers by lower-case name, as they came.
RateLimitHeaders = Mapping[bytes, bytes]
#: What their names begin with. Source: platform.claude.com/docs, rate limits, response headers, read 2026-11-21.
_PREFIXES = (b"anthropic-ratelimit-", b"anthropic-priority-", b"anthropic-fast-")
_TYPE, _ENCODING, _RETRY = b"content-type", b"content-encoding", b"x-should-retry"
_OTHERS = frozenset({_TYPE, _ENCODING, _RETRY})
_MOST_NAMES = 1000
#: The headers of a response: each a tuple of a name first, and a value last.
RawHeaders = Sequence[tuple[bytes, ...]]


class Heading(NamedTuple):
    """The headers that say how to read a body and whether to retry, and the rate limits as sent."""

    content_type: str
    content_encoding: str
    should_retry: str
    rate_limit_headers: RateLimitHeaders


NO_HEADING = Heading("", "", "", {})


def fields_of(headers: Any) -> RawHeaders:
    """The headers of an httpx response as its own list, if it has one: `raw` copies it, header by header."""
    try:
        fields: RawHeaders = headers._list  # noqa: SLF001 - names first, values last, as in `raw`
    except AttributeError:
        fields = headers.raw
    return fields


def heading(headers: RawHeaders) -> Heading:
    """Pick the headers out. Names in any case."""
    found: dict[bytes, bytes] = {}
    for field in headers:
        name, value = field[0], field[-1]
        wanted = _wanted.get(name)
        if wanted is None:
            wanted = _look_at(name)
        if wanted:  # a body may be encoded more than once, with a header for each encoding
            found[wanted] = b"%b, %b" % (found[wanted], value) if wanted in found and wanted == _ENCODING else value
    take = found.pop
    return Heading(
        take(_TYPE, b"").decode("latin-1"),
        take(_ENCODING, b"").decode("latin-1"),
        take(_RETRY, b"").decode("latin-1"),
        found,
    )


def first_rate_limit(headers: RawHeaders) -> int:
    """The index of the first header that is a rate limit; -1 if none is."""
    for index, field in enumerate(headers):
        name = field[0]
        wanted = _wanted.get(name)
        if wanted is None:
            wanted = _look_at(name)
        if wanted and wanted not in _OTHERS:
            return index
    return -1


# Names as servers spell them, with the lower-case name if it is wanted, else empty: each name is examined once.
_wanted: dict[bytes, bytes] = {}


def _look_at(name: bytes) -> bytes:
    lower = name.lower()
    wanted = lower if lower in _OTHERS or lower.startswith(_PREFIXES) else b""
    if len(_wanted) < _MOST_NAMES:
        _wanted[name] = wanted
    return wanted
