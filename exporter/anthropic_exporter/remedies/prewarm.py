"""Registered prompts, written into the prompt cache before the next caller has to.

`max_tokens: 0` bills the cache write and no output. Source: platform.claude.com/docs, prompt caching, pre-warming, read
2026-11-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anthropic_exporter.attribution import attribution
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.recorder import Recorder

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
        recorder: counts what writing it costs.
        clock: monotonic seconds.

    Raises:
        ConfigurationError: the client is async, or the request asks for no caching.
    """

    def __init__(
        self,
        feature: str,
        client: Any,
        request: Mapping[str, Any],
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        if type(client).__name__.startswith("Async"):
            raise ConfigurationError(
                f"remedies.prompt({feature!r}): give a sync client; remedies run on their own thread"
            )
        ttls = [_TTL_SECONDS.get(one.get("ttl", "5m"), 300.0) for one in _cache_controls(request)]
        if not ttls:
            raise ConfigurationError(
                f"remedies.prompt({feature!r}): the request has no cache_control, nothing to refresh"
            )
        self._client = _recorded(client, recorder)
        self._request = {key: value for key, value in request.items() if key not in _LEFT_OUT}
        self._clock = clock
        self._ttl_seconds = min(ttls)
        self._warmed_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether the last cache entry has expired."""
        return self._warmed_at is None or self._clock() - self._warmed_at >= self._ttl_seconds

    def warm(self) -> Exception | None:
        """Write it into the cache, counted under the feature `refresh_cache`. What went wrong; it is due again then."""
        before, self._warmed_at = self._warmed_at, self._clock()
        try:
            with attribution(feature=REFRESH_CACHE):
                self._client.messages.create(**{**self._request, "max_tokens": 0})
        except Exception as error:  # noqa: BLE001 - counted and logged by the caller; the next prompt has its turn
            self._warmed_at = before
            return error
        return None


def _recorded(client: Any, recorder: Recorder) -> Any:
    """The client, with the recorder's middleware added if it is missing."""
    present = getattr(client, "middleware", ())
    if any(getattr(one, "recorder", None) is recorder for one in present):
        return client
    return client.with_options(middleware=[*present, recorder.middleware()])


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
