"""Which prompts repeat, as hashes and lengths. Nothing of a prompt is kept.

A prefix is what comes before the messages: the system prompt and the tools. It is known by a hash of its length and of
samples of its text, with a random key of this process; the hash never leaves the process. On a few requests the whole
prefix is hashed as well, so that one that differs between the samples is found out, and its share of the prompt is
measured in characters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from anthropic_exporter.call import Sight
from anthropic_exporter.recording.advice.recent import Recent

#: Sampled from the beginning and the end of a text, where dates, names and questions stand.
_SAMPLE = 48
_FIRST, _LAST = slice(_SAMPLE), slice(-_SAMPLE, None)  # made once, they are taken faster
#: The whole prefix is read on its first repetitions and on every 64th; of one that was read often, on every 512th.
_FIRST_SIGHTINGS, _MASK = 8, 63
_OFTEN, _OFTEN_MASK = 4_096, 511
_MOST_MEASURED_MESSAGES, _MOST_BLOCKS = 4, 64


_NO_TEXT: Any = ""


class Prefix:
    """A system prompt with its tools: when it was last sent, and how long it is."""

    __slots__ = (
        "at",
        "cached",
        "is_stable",
        "measured",
        "share_tokens",
        "sightings",
        "tokens",
        "tool_characters",
        "whole",
    )

    def __init__(self) -> None:
        #: Unix time of its newest request that was counted; 0 before the first.
        self.at = 0.0
        #: Tokens that the cache held after the last request.
        self.cached = 0
        self.sightings = 0
        self.share_tokens = 0.0
        self.measured = 0
        self.tool_characters = -1
        self.whole: int | None = None
        self.is_stable = True
        #: The mean of what was measured; 0 before, and if the text changes between its samples.
        self.tokens = 0.0

    def measure(self, share: float | None, whole: int, prompt: int) -> bool:
        """Learn from a request that was read as a whole. True for the first that says how long the prefix is."""
        self.is_stable = self.is_stable and self.whole in (None, whole)
        self.whole = whole
        if share is None or not self.is_stable:
            self.tokens = self.tokens if self.is_stable else 0.0
            return False
        self.share_tokens += share * prompt
        self.measured += 1
        self.tokens = self.share_tokens / self.measured
        return self.measured == 1


class Sampler:
    """Turns requests into `Sight`s. Runs on the application's thread.

    Args:
        known: the prefixes that were seen, by hash; takes in new ones.
        failed: takes a failure of this class, which never reaches the call that it is about.
    """

    def __init__(self, known: Recent[Prefix], failed: Callable[[str, BaseException], None]) -> None:
        self._known = known
        self._failed = failed
        self._secret = os.urandom(16).hex()
        self._without_prefix = int.from_bytes(os.urandom(7), "big")

    def sight(self, request: Mapping[str, Any]) -> Sight | None:
        """What is remembered of a request. None if it has a shape that no API takes."""
        try:
            get = request.get
            tools, messages, system = get("tools"), get("messages"), get("system")
            if type(system) is str and not tools:
                key = hash((self._secret, get("model"), len(system), system[_FIRST], system[_LAST]))
            else:
                key = self._prefix(get("model"), system, tools) if system or tools else 0
            count, opening = 0, _NO_TEXT
            if type(messages) is list and messages:
                count, message = len(messages), messages[0]
                opening = message.get("content") if type(message) is dict else ""
                if type(opening) is not str:
                    opening = _opening(message)
            conversation = hash((key or self._without_prefix, len(opening), opening[_FIRST]))
            seen = (key, conversation, count, count == 1 and not tools and not get("stream"), None, None)
            if not key:
                return seen
            known = self._known.get(key) or self._known.older(key) or self._new(key)
            known.sightings = sightings = known.sightings + 1
            if sightings & _MASK and sightings > _FIRST_SIGHTINGS:
                return seen
            is_due = sightings > 1 and (sightings < _OFTEN or not sightings & _OFTEN_MASK)
            return self._measured(seen, known, request) if is_due else seen
        except Exception as error:  # noqa: BLE001 - the error boundary: the call itself is counted
            self._failed("advice", error)
            return None

    def _new(self, key: int) -> Prefix:
        self._known.limit()
        made = self._known[key] = Prefix()
        return made

    def _measured(self, seen: Sight, known: Prefix, request: Mapping[str, Any]) -> Sight:
        """The sight of a request that is read as a whole."""
        tools, text = request.get("tools"), _joined(request.get("system"))
        share = _share(len(text) + _tool_characters(known, tools), request.get("messages"))
        return (*seen[:4], share, hash(f"{self._secret}{text}{tools}"))

    def _prefix(self, model: Any, system: Any, tools: Any) -> int:
        """The hash of a prefix of any shape."""
        blocks = system if type(system) is list else ()
        first, last = (_text(blocks[0]), _text(blocks[-1])) if blocks else (system, system)
        if type(last) is not str:
            first = last = ""
        middle = len(last) >> 1
        samples = first[:_SAMPLE], last[middle : middle + _SAMPLE], last[-_SAMPLE:]
        names = (len(tools), _name(tools[0]), _name(tools[-1])) if type(tools) is list and tools else None
        return hash((self._secret, model, len(blocks), len(first), len(last), samples, names))


def _opening(message: Any) -> str:
    """The first text of the first message, which a conversation keeps."""
    content = message.get("content") if type(message) is dict else ""
    if type(content) is str:
        return content
    return _text(content[0]) if type(content) is list and content else ""


def _text(block: Any) -> str:
    text = block.get("text") if type(block) is dict else ""
    return text if type(text) is str else ""


def _name(tool: Any) -> Any:
    return tool.get("name") if type(tool) is dict else None


def _joined(system: Any) -> str:
    if type(system) is str:
        return system
    return "".join(map(_text, system[:_MOST_BLOCKS])) if type(system) is list else ""


def _tool_characters(known: Prefix, tools: Any) -> int:
    """Characters of the tools as JSON, measured once for each prefix."""
    if known.tool_characters < 0:
        known.tool_characters = len(json.dumps(tools, default=str)) if tools else 0
    return known.tool_characters


def _share(prefix: int, messages: Any) -> float | None:
    """The prefix's part of the characters; None if the messages are many, or not only text."""
    if not prefix or type(messages) is not list or len(messages) > _MOST_MEASURED_MESSAGES:
        return None
    rest = 0
    for message in messages:
        content = message.get("content") if type(message) is dict else None
        blocks = [{"text": content}] if type(content) is str else content
        if type(blocks) is not list or not all(map(_text, blocks[:_MOST_BLOCKS])) or len(blocks) > _MOST_BLOCKS:
            return None
        rest += sum(len(_text(block)) for block in blocks)
    return prefix / (prefix + rest)
