"""Remembers where calls of one kind are written and what they cost: most calls then need no labels and no prices.

A line is made only from a call that the general way wrote, and is used only for calls that differ from it in counts and
times.
"""

from __future__ import annotations

from typing import Any

from anthropic_exporter.call import SUCCESS, Call
from anthropic_exporter.metrics.line import Line

_MOST = 5_000
_LONGEST_WORD = 128

#: The words that determine labels and prices.
Kind = tuple[Any, ...]


class Lines:
    """Lines by the kind of call, or of answer, that they write."""

    def __init__(self) -> None:
        self._lines: dict[Kind | None, Line] = {}
        self.get = self._lines.get

    def __contains__(self, kind: Kind | None) -> bool:
        return kind in self._lines

    def add(self, kind: Kind, line: Line) -> bool:
        """Remember a line, unless a word of its kind is long. Returns whether it did."""
        if len(self._lines) >= _MOST:
            self._lines.clear()
        is_short = all(len(word) <= _LONGEST_WORD for word in _words(kind))
        if is_short:
            self._lines[kind] = line
        return is_short

    def clear(self) -> None:
        """Forget all lines, because the cells were replaced."""
        self._lines.clear()


def _words(kind: Kind) -> list[Any]:
    return [word for part in kind if part for word in (part if isinstance(part, tuple) else (part,)) if word]


_at = Call._fields.index
_MODEL, _OUTCOME, _INFERENCES, _TTFT = map(_at, ("model", "outcome", "inferences", "time_to_first_token_seconds"))
_LABELS = slice(_at("feature"), _at("started_at"))
_STOP_REASON, _GEO, _LIMITS, _PROMPT = map(_at, ("stop_reason", "inference_geo", "rate_limit_headers", "prompt"))
_THINKING_TO_CACHE_ASKED = slice(_at("thinking_tokens"), _at("cache_asked"))
_MISS_REASON = _at("cache_miss_reason")
_REGIONAL_TO_LIMITS = slice(_at("regional"), _LIMITS)
_ESTIMATES_TO_TASK = slice(_at("estimates"), _at("task"))
_PLAIN = Call("")
_NO_THINKING, _NO_SPECIALS, _NO_ESTIMATES = (
    tuple(_PLAIN)[part] for part in (_THINKING_TO_CACHE_ASKED, _REGIONAL_TO_LIMITS, _ESTIMATES_TO_TASK)
)
_BILLED_PLAINLY = (True, True, 0)


def kind_of(call: Call) -> Kind | None:
    """The kind of a call that says nothing but its labels, one inference and its times; None for any other."""
    fields: tuple[Any, ...] = call
    inferences = fields[_INFERENCES]
    if (
        len(inferences) != 1
        or fields[_OUTCOME] != SUCCESS
        or fields[_TTFT] is not None
        or fields[_THINKING_TO_CACHE_ASKED] != _NO_THINKING
        or fields[_MISS_REASON]
        or fields[_REGIONAL_TO_LIMITS] != _NO_SPECIALS
        or fields[_LIMITS]
        or fields[_ESTIMATES_TO_TASK] != _NO_ESTIMATES
        or fields[_PROMPT] is not None
    ):
        return None
    model, inference = fields[_MODEL], inferences[0]
    if inference[0] != model or inference[2:] != _BILLED_PLAINLY:
        return None
    return (model, *fields[_LABELS], fields[_STOP_REASON], fields[_GEO])
