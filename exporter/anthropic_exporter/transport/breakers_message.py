"""A collector's message about the whole fleet: the conditions that hold now. JSON; see `docs/wire-format.md`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from anthropic_exporter.transport.cells_message import encodable

_FORMAT = 1
_MOST_BYTES = 1_000_000
_MOST_HOLDING = 10_000
#: The most bytes for the conditions of a message: NATS and Kafka refuse messages above 1 MB by default.
_MOST_HOLDING_BYTES = 900_000
#: If there are too many, those that stop the most are sent.
_SCOPES = ("total", "feature", "model")
_LONGEST_NAME = 128
#: Without a message for this long, processes treat all conditions as over.
EXPIRES_SECONDS = 60.0


class Holding(NamedTuple):
    """One condition that holds. `condition` and `scope` are words of the Guard; the value and its threshold."""

    condition: str
    scope: str
    feature: str
    model: str
    value: float
    threshold: float


class BreakersMessage(NamedTuple):
    """All conditions that hold, as one collector sees them. `sent_at` is in Unix seconds."""

    collector: str
    sent_at: float
    holding: tuple[Holding, ...] = ()
    expires_seconds: float = EXPIRES_SECONDS


def encode(message: BreakersMessage) -> bytes:
    """The bytes of a message. If there are too many conditions, it has those that `fitting` returns."""
    return json.dumps(
        {
            "format": _FORMAT,
            "collector": message.collector,
            "sent_at": message.sent_at,
            "expires_seconds": message.expires_seconds,
            "holding": [one._asdict() for one in fitting(message.holding)],
        }
    ).encode()


def fitting(holding: Iterable[Holding]) -> list[Holding]:
    """The conditions for which a message has room, those of the widest scope first."""
    found: list[Holding] = []
    room = _MOST_HOLDING_BYTES
    for one in sorted(holding, key=_width):
        room -= len(json.dumps(one._asdict())) + 2
        if room < 0 or len(found) == _MOST_HOLDING:
            break
        found.append(one)
    return found


def _width(one: Holding) -> int:
    return _SCOPES.index(one.scope) if one.scope in _SCOPES else len(_SCOPES)


def decode(data: bytes) -> BreakersMessage | None:
    """A message from its bytes; None if it is not one that this version reads. Unknown keys are ignored."""
    if len(data) > _MOST_BYTES:
        return None
    try:
        found = json.loads(data)
        if found["format"] != _FORMAT:
            return None
        holding = tuple(one for given in found["holding"][:_MOST_HOLDING] if (one := _holding(given)) is not None)
        expires = min(EXPIRES_SECONDS, max(1.0, _number(found.get("expires_seconds", EXPIRES_SECONDS))))
        return BreakersMessage(_name(found["collector"]), _number(found["sent_at"]), holding, expires)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _holding(one: dict[str, Any]) -> Holding | None:
    """One condition; None for one that this version does not read: the others hold nevertheless."""
    try:
        condition, scope, feature, model = (_name(one[key]) for key in ("condition", "scope", "feature", "model"))
        return Holding(condition, scope, feature, model, _number(one["value"]), _number(one["threshold"]))
    except (ValueError, KeyError, TypeError):
        return None


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise ValueError("not a name")
    return encodable(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)
