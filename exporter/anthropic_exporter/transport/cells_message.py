"""One message of a publisher: changed cells, and the identity they belong to. See `docs/wire-format.md`.

Cells are cumulative, so a message may be lost, repeated or reordered: the next message with the cell repairs it.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

from anthropic_exporter.transport.container import UnreadableError, pack, unpack

_LONGEST_NAME = 128
_LONGEST_LABEL = 1024
_MOST_CELLS = 8_000_000
_MOST_WIDTH = 1_000
#: The most identities that one message may replace.
MOST_REPLACED = 100
_NUMBER_BYTES, _VALUE_BYTES = 4, 8


class Layout(NamedTuple):
    """A family's layout: kind, label names, and the upper bounds of a histogram without +Inf."""

    family: str
    kind: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Cells of one series: one a bucket, +Inf and the sum for a histogram, else 1."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


class Definition(NamedTuple):
    """One series: its cells start at `first`. `created` is in Unix seconds."""

    first: int
    layout: Layout
    labels: tuple[str, ...]
    created: float


class CellsMessage(NamedTuple):
    """Changed cells of one publisher.

    Attributes:
        identity: the owner of the cells; a new one whenever they may have started again at 0.
        epoch: the numbering of the cells; a publisher that starts has a new one.
        sequence: 1 for the first message of an epoch, then one more each time.
        service: which service they belong to.
        host: where the publisher runs.
        sent_at: seconds since the epoch.
        period_seconds: shortest time between two messages.
        version: of the publisher's software.
        full: every series is defined and every cell is in it.
        final: the publisher is shutting down in order.
        lasting: the cells outlive their processes, so that the identity may come back after its end.
        replaces: identities whose cells are now part of these, and must not be added to them.
        machine: which machine this is, as long as it runs: two hosts may have one name. Empty if unknown.
        unsent: how many messages directly before this one the queue did not accept, as far as the publisher knows.
        definitions: the series that are new in this epoch, or all of them.
        numbers: which cells, by the numbering of the epoch.
        values: their current values. NaN removes a gauge.
    """

    identity: str
    epoch: int
    sequence: int
    service: str
    host: str
    sent_at: float
    period_seconds: float = 1.0
    version: str = ""
    full: bool = False
    final: bool = False
    lasting: bool = False
    replaces: tuple[str, ...] = ()
    machine: str = ""
    unsent: int = 0
    definitions: tuple[Definition, ...] = ()
    numbers: array[int] = array("I")
    values: array[float] = array("d")


def encode(message: CellsMessage) -> bytes:
    """The bytes of a message."""
    layouts = list(dict.fromkeys(one.layout for one in message.definitions))
    place = {layout: index for index, layout in enumerate(layouts)}
    header: dict[str, Any] = {
        "identity": message.identity,
        "epoch": message.epoch,
        "sequence": message.sequence,
        "service": message.service,
        "host": message.host,
        "sent_at": message.sent_at,
        "period": message.period_seconds,
        "version": message.version,
        "full": message.full,
        "final": message.final,
        "cells": len(message.numbers),
        "layouts": [[one.family, one.kind, one.labels, one.buckets] for one in layouts],
        "series": [[one.first, place[one.layout], one.labels, one.created] for one in message.definitions],
    }
    if message.lasting:
        header["lasting"] = True
    if message.replaces:
        header["replaces"] = message.replaces
    if message.machine:
        header["machine"] = message.machine
    if message.unsent:
        header["unsent"] = message.unsent
    return pack(header, _little(message.numbers) + _little(message.values))


def decode(data: bytes) -> CellsMessage:
    """A message from its bytes. Keys and trailing bytes that a newer writer added are ignored.

    Raises:
        UnreadableError: the bytes are not a message, or of a newer major version.
    """
    header, body = unpack(data)
    try:
        return _message(header, body)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError("unreadable", type(error).__name__) from error


def _message(header: dict[str, Any], body: bytes) -> CellsMessage:
    count = _whole(header["cells"], _MOST_CELLS)
    ends = count * _NUMBER_BYTES, count * (_NUMBER_BYTES + _VALUE_BYTES)
    if len(body) < ends[1]:
        raise UnreadableError("unreadable", "cut off")
    layouts = [_layout(*one[:4]) for one in header.get("layouts", ())]
    return CellsMessage(
        identity=_name(header["identity"]),
        epoch=_whole(header["epoch"]),
        sequence=_whole(header["sequence"]),
        service=_name(header.get("service", "")),
        host=_name(header.get("host", "")),
        sent_at=_number(header["sent_at"]),
        period_seconds=_number(header.get("period", 1.0)),
        version=_name(header.get("version", "")),
        full=bool(header.get("full")),
        final=bool(header.get("final")),
        lasting=bool(header.get("lasting")),
        replaces=tuple(map(_name, header.get("replaces", ())[:MOST_REPLACED])),
        machine=_name(header.get("machine", "")),
        unsent=_whole(header.get("unsent", 0)),
        definitions=tuple(_definition(layouts, *one[:4]) for one in header.get("series", ())),
        numbers=_array("I", body[: ends[0]]),
        values=_array("d", body[ends[0] : ends[1]]),
    )


def _definition(layouts: list[Layout], first: Any, place: Any, labels: Any, created: Any) -> Definition:
    layout = layouts[_whole(place)]
    found = tuple(_label(one) for one in labels)
    if len(found) != len(layout.labels):
        raise UnreadableError("unreadable", "labels")
    return Definition(_whole(first, _MOST_CELLS), layout, found, _number(created))


def _layout(family: Any, kind: Any, labels: Any, buckets: Any) -> Layout:
    layout = Layout(_name(family), _name(kind), tuple(map(_name, labels)), tuple(map(float, buckets)))
    if layout.width > _MOST_WIDTH:
        raise UnreadableError("unreadable", "buckets")
    return layout


def _whole(value: Any, most: int = 2**63 - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UnreadableError("unreadable", "number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise UnreadableError("unreadable", "number")
    return float(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise UnreadableError("unreadable", "name")
    return encodable(value)


def _label(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
        raise UnreadableError("unreadable", "label")
    return encodable(value)


def encodable(text: str) -> str:
    """The text without what UTF-8 cannot hold: JSON may contain half a surrogate pair."""
    return text.encode(errors="replace").decode()


def _array(code: str, data: bytes) -> array[Any]:
    found: array[Any] = array(code)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _little(values: array[Any]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def numbers(found: Iterable[int]) -> array[int]:
    """Cell numbers as a message carries them: 4 bytes each."""
    return array("I", found)
