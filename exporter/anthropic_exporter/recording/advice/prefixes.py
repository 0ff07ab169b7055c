"""Which prompts repeat, as hashes and lengths. Nothing of a prompt is kept.

A prefix is what comes before the messages: the system prompt and the tools. It is known by a hash of its length and of
samples of its text, with a random key of this process; the hash never leaves the process. On a few requests the whole
prefix is hashed as well, so that one that differs between the samples is found out, and its share of the prompt is
measured in characters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from anthropic_exporter.call import Sight
from anthropic_exporter.recording.advice.recent import Recent

#: Sampled from the beginning and the end of a text, where dates, names and questions stand.
_SAMPLE = 48
#: The whole prefix is read on its first repetitions and on every 64th; of one that was read often, on every 512th.
_FIRST_SIGHTINGS, _MASK = 8, 63
_OFTEN, _OFTEN_MASK = 4_096, 511
_MOST_MEASURED_MESSAGES, _MOST_BLOCKS = 4, 64
#: Half of what the constructor of a named tuple costs.
_as_sight = tuple.__new__


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

    def measure(self, seen: Sight, prompt: int) -> bool:
        """Learn from a request that was read as a whole. True for the first that says how long the prefix is."""
        if seen.whole is not None:
            self.is_stable = self.is_stable and self.whole in (None, seen.whole)
            self.whole = seen.whole
        if seen.share is None or not self.is_stable:
            self.tokens = self.tokens if self.is_stable else 0.0
            return False
        self.share_tokens += seen.share * prompt
        self.measured += 1
        self.tokens = self.share_tokens / self.measured
        return self.measured == 1


class Sampler:
    """Turns requests into `Sight`s. Runs on the application's thread.

    Args:
        known: the prefixes that were seen, by hash; takes in new ones.
    """

    def __init__(self, known: Recent[Prefix]) -> None:
        self._known = known
        self._secret = os.urandom(16).hex()

    def sight(self, request: Mapping[str, Any]) -> Sight:
        """What is remembered of a request."""
        get, secret = request.get, self._secret
        tools, messages, system = get("tools"), get("messages"), get("system")
        count = len(messages) if type(messages) is list else 0
        key = 0
        if type(system) is str and not tools:
            key = hash((secret, get("model"), len(system), system[:_SAMPLE], system[-_SAMPLE:]))
        elif system or tools:
            key = self._prefix(get("model"), system, tools)
        opening: Any = ""
        if count:
            message = messages[0]  # type: ignore[index]  # a list
            opening = message.get("content") if type(message) is dict else ""
            if type(opening) is not str:
                opening = _opening(message)
        conversation = hash((secret, key, len(opening), opening[:_SAMPLE]))
        if key:
            known = self._known.get(key) or self._known.older(key) or self._new(key)
            known.sightings = sightings = known.sightings + 1
            if sightings <= _FIRST_SIGHTINGS or not sightings & _MASK:
                seen = Sight(key, conversation, count, _is_batchable(request))
                is_due = sightings > 1 and (sightings < _OFTEN or not sightings & _OFTEN_MASK)
                return self._measured(seen, known, request) if is_due else seen
        return _as_sight(Sight, (key, conversation, count, count == 1 and not tools and not get("stream"), None, None))

    def _new(self, key: int) -> Prefix:
        self._known.limit()
        made = self._known[key] = Prefix()
        return made

    def _measured(self, seen: Sight, known: Prefix, request: Mapping[str, Any]) -> Sight:
        """The sight of a request that is read as a whole."""
        tools, text = request.get("tools"), _joined(request.get("system"))
        share = _share(len(text) + _tool_characters(known, tools), request.get("messages"))
        return seen._replace(share=share, whole=hash(f"{self._secret}{text}{tools}"))

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


def _is_batchable(request: Mapping[str, Any]) -> bool:
    """Whether it is one message without tools that is answered without a stream."""
    messages = request.get("messages")
    return type(messages) is list and len(messages) == 1 and not request.get("tools") and not request.get("stream")


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
