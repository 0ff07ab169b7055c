"""Picks the headers that an attempt needs in one pass: an API response has some 25 of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anthropic_exporter.wire.rate_limits import PREFIXES, RateLimitHeaders

_TYPE, _ENCODING, _RETRY = b"content-type", b"content-encoding", b"x-should-retry"
_OTHERS = frozenset({_TYPE, _ENCODING, _RETRY})
_MOST_NAMES = 1000


class Heading(NamedTuple):
    """The headers that say how to read a body and whether to retry, and the rate limits as sent."""

    content_type: str
    content_encoding: str
    should_retry: str
    rate_limit_headers: RateLimitHeaders


NO_HEADING = Heading("", "", "", {})


def heading(headers: Iterable[tuple[bytes, bytes]]) -> Heading:
    """Pick the headers out. Names in any case."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
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


def names_rate_limits(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether any of these headers is a rate limit."""
    for name, _ in headers:
        wanted = _wanted.get(name)
        if wanted is None:
            wanted = _look_at(name)
        if wanted and wanted not in _OTHERS:
            return True
    return False


# Names as servers spell them, with the lower-case name if it is wanted, else empty: each name is examined once.
_wanted: dict[bytes, bytes] = {}


def _look_at(name: bytes) -> bytes:
    lower = name.lower()
    wanted = lower if lower in _OTHERS or lower.startswith(PREFIXES) else b""
    if len(_wanted) < _MOST_NAMES:
        _wanted[name] = wanted
    return wanted
