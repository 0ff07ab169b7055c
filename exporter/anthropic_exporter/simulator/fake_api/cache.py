"""The prompt cache of the fake API: byte-identical prefixes, by workspace and model, for five minutes or one hour.

Rules from the page on prompt caching (docs, read 2026-11-21): order tools, system, messages; up to four breakpoints;
a look back of twenty blocks; a prefix below the model's minimum is silently not cached; an entry can be read once the
answer that wrote it has begun; its lifetime counts from the start of the request and is renewed by each read.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LIFETIME_SECONDS = {"5m": 300.0, "1h": 3600.0}
LOOK_BACK_BLOCKS = 20
MAX_BREAKPOINTS = 4
BYTES_PER_TOKEN = 4
#: Minimum cacheable tokens by the beginning of the model's name; first match (docs, read 2026-11-21).
MINIMUM_TOKENS = (
    ("claude-opus-5", 512),
    ("claude-fable-5", 512),
    ("claude-mythos-5", 512),
    ("claude-opus-4-7", 2048),
    ("claude-opus-4-6", 4096),
    ("claude-opus-4-5", 4096),
    ("claude-haiku-4-5", 4096),
)
OTHERWISE_MINIMUM_TOKENS = 1024


class Block(NamedTuple):
    """One block of the prompt: the fingerprint and length of everything up to its end, and its breakpoint's TTL."""

    fingerprint: bytes
    tokens: int
    ttl: str


class CacheUse(NamedTuple):
    """What one prompt reads from the cache and writes to it, as a partition of its tokens."""

    input: int
    read: int
    write_5m: int
    write_1h: int
    entries: tuple[tuple[bytes, float], ...]


class InvalidCacheControl(ValueError):  # noqa: N818 -- the API's answer to it is a 400, worded by its message
    """A use of `cache_control` that the API refuses."""


def blocks(workspace: str, body: Mapping[str, Any]) -> list[Block]:
    """The prompt as blocks in the order tools, system, messages.

    Raises:
        InvalidCacheControl: more than four breakpoints, or a one-hour breakpoint behind a five-minute one.
    """
    digest = hashlib.blake2b(f"{workspace}\0{body.get('model', '')}".encode(), digest_size=16)
    tokens, found = 0, []
    for role, content, ttl in _parts(body):
        digest.update(f"{role}\0{len(content)}\0".encode() + content)
        tokens += -(-len(content) // BYTES_PER_TOKEN)
        found.append(Block(digest.copy().digest(), tokens, ttl))
    if found and (automatic := body.get("cache_control")):
        found[-1] = found[-1]._replace(ttl=_ttl(automatic))
    _check([block.ttl for block in found if block.ttl])
    return found


class PromptCache:
    """The cached prefixes of all workspaces. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._expiry: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def read(self, model: str, prompt: Sequence[Block], now: float) -> CacheUse:
        """The tokens that `prompt` reads from the cache now, and those that it would write."""
        total = prompt[-1].tokens if prompt else 0
        minimum = minimum_tokens(model)
        marked = [index for index, block in enumerate(prompt) if block.ttl and block.tokens >= minimum]
        if not marked:
            return CacheUse(total, 0, 0, 0, ())
        read = self._longest(prompt, marked, now)
        written, position = {"5m": 0, "1h": 0}, read
        for index in marked:
            if prompt[index].tokens > position:
                written[prompt[index].ttl] += prompt[index].tokens - position
                position = prompt[index].tokens
        entries = tuple((prompt[index].fingerprint, LIFETIME_SECONDS[prompt[index].ttl]) for index in marked)
        return CacheUse(total - position, read, written["5m"], written["1h"], entries)

    def store(self, reading: CacheUse, started: float) -> None:
        """Make the prefixes of a prompt readable, once its answer has begun."""
        with self._lock:
            for fingerprint, lifetime in reading.entries:
                self._expiry[fingerprint] = max(started + lifetime, self._expiry.get(fingerprint, 0.0))

    def clear(self) -> None:
        """Drop every entry, as after an eviction."""
        with self._lock:
            self._expiry.clear()

    def _longest(self, prompt: Sequence[Block], marked: Sequence[int], now: float) -> int:
        reachable = {index for mark in marked for index in range(max(0, mark - LOOK_BACK_BLOCKS), mark + 1)}
        with self._lock:
            live = (prompt[i].tokens for i in reachable if self._expiry.get(prompt[i].fingerprint, -1.0) > now)
            return max(live, default=0)


def minimum_tokens(model: str) -> int:
    """The shortest prefix that this model caches, in tokens."""
    return next((least for name, least in MINIMUM_TOKENS if model.startswith(name)), OTHERWISE_MINIMUM_TOKENS)


def _parts(body: Mapping[str, Any]) -> Iterator[tuple[str, bytes, str]]:
    for tool in body.get("tools") or ():
        yield _part("tool", tool)
    for block in _as_blocks(body.get("system")):
        yield _part("system", block)
    for message in body.get("messages") or ():
        for block in _as_blocks(message.get("content")):
            yield _part(message.get("role", ""), block)


def _as_blocks(content: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    return content or ()


def _part(role: str, block: Mapping[str, Any]) -> tuple[str, bytes, str]:
    kept = {key: value for key, value in block.items() if key != "cache_control"}
    text = kept["text"] if set(kept) == {"type", "text"} else json.dumps(kept, sort_keys=True)
    return role, text.encode(), _ttl(block.get("cache_control"))


def _ttl(control: Mapping[str, Any] | None) -> str:
    if not control:
        return ""
    ttl = control.get("ttl", "5m")
    if control.get("type") != "ephemeral" or ttl not in LIFETIME_SECONDS:
        raise InvalidCacheControl("cache_control: only type 'ephemeral' with ttl '5m' or '1h' is allowed")
    return str(ttl)


def _check(ttls: Sequence[str]) -> None:
    if len(ttls) > MAX_BREAKPOINTS:
        raise InvalidCacheControl(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(ttls)}."
        )
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        raise InvalidCacheControl("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
