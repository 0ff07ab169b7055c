"""What an attempt needs of a response's headers, picked out in one pass over what came: an API response has 25 of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .rate_limits import PREFIXES, RateLimitHeaders

_WANTED = frozenset({b"content-type", b"content-encoding", b"x-should-retry"})
_FAMILY = b"anthropic-"


class Heading(NamedTuple):
    """The headers that say how to read a body and whether to try again, and the rate limits as they came."""

    content_type: str
    content_encoding: str
    should_retry: str
    rate_limit_headers: RateLimitHeaders


NO_HEADING = Heading("", "", "", ())


def heading(headers: Iterable[tuple[bytes, bytes]]) -> Heading:
    """Pick the headers out. Names in any case."""
    found, limits = {}, []
    for raw_name, value in headers:
        name = raw_name.lower()
        if name in _WANTED:
            found[name] = value.decode("latin-1")
        elif name[: len(_FAMILY)] == _FAMILY and name.startswith(PREFIXES):
            limits.append((name, value))
    get = found.get
    return Heading(get(b"content-type", ""), get(b"content-encoding", ""), get(b"x-should-retry", ""), tuple(limits))
