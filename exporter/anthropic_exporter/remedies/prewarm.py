"""Registered prompts, written into the prompt cache before the next caller has to.

`max_tokens: 0` bills the cache write and no output. Source: platform.claude.com/docs, prompt caching, pre-warming, read
2026-11-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anthropic_exporter.attribution import attribution
from anthropic_exporter.errors import ConfigurationError

REFRESH_CACHE = "refresh_cache"
_TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
# What a request without an answer neither needs nor takes.
_LEFT_OUT = frozenset({"stream", "thinking", "output_config", "output_format", "stop_sequences"})


class Prompt:
    """One prompt and when it was last written.

    Args:
        feature: the feature whose cache it is.
        client: a client of the SDK that waits for its answers.
        request: the arguments of `messages.create`, with their `cache_control`.
        clock: seconds.

    Raises:
        ConfigurationError: the client is async, or the request asks for no caching.
    """

    def __init__(self, feature: str, client: Any, request: Mapping[str, Any], clock: Callable[[], float]) -> None:
        if type(client).__name__.startswith("Async"):
            raise ConfigurationError(
                f"remedies.prompt({feature!r}): give a sync client; remedies run on their own thread"
            )
        ttls = [_TTL_SECONDS.get(one.get("ttl", "5m"), 300.0) for one in _cache_controls(request)]
        if not ttls:
            raise ConfigurationError(
                f"remedies.prompt({feature!r}): the request has no cache_control, nothing to refresh"
            )
        self._client = client
        self._request = {key: value for key, value in request.items() if key not in _LEFT_OUT}
        self._clock = clock
        self._ttl_seconds = min(ttls)
        self._warmed_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether what was last written has run out by now."""
        return self._warmed_at is None or self._clock() - self._warmed_at >= self._ttl_seconds

    def warm(self) -> None:
        """Write it into the cache; counted under the feature `refresh_cache`."""
        before, self._warmed_at = self._warmed_at, self._clock()
        try:
            with attribution(feature=REFRESH_CACHE):
                self._client.messages.create(**{**self._request, "max_tokens": 0})
        except BaseException:
            self._warmed_at = before
            raise


def _cache_controls(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        found = value.get("cache_control")
        if isinstance(found, Mapping):
            yield found
        for inner in value.values():
            yield from _cache_controls(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _cache_controls(inner)
