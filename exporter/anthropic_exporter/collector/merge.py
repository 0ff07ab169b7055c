"""Merges messages: the newest of each identity, then the sum; duplicates, gaps, reordering and restarts do no harm.

Cells are cumulative within an identity, so "newest" is "largest": a message adds its excess over what is known. That is
a join: applying a message twice, late, or in another order gives the same totals, and no total can fall.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

from anthropic_exporter.collector.members import IGNORED, Member
from anthropic_exporter.collector.series import MOST_SERIES, ShownSeries
from anthropic_exporter.metrics.families import GAUGE
from anthropic_exporter.metrics.ledger import Life
from anthropic_exporter.transport.cells_message import CellsMessage, Definition

MOST_MEMBERS = 50_000
#: Events older than this count in totals and budgets, but not in rates.
LATE_SECONDS = 15.0
_LARGEST = 1e300


class Patience(NamedTuple):
    """After how many seconds of silence a member's cells are dropped."""

    seconds: float
    finished_seconds: float
    lasting_seconds: float

    def with_member(self, member: Member) -> float:
        """Those of one member."""
        if member.lasting:
            return self.lasting_seconds
        return self.finished_seconds if member.finished else self.seconds


class MergeCounts(NamedTuple):
    """What the merge counted, since the collector's state began."""

    messages: int = 0
    gaps: int = 0
    ignored_cells: int = 0
    undefined_cells: int = 0
    invalid_cells: int = 0
    rebased: int = 0
    refused_members: int = 0


class Fleet:
    """All publishers of one stream.

    Args:
        life: names the totals: a new one where they may begin again at 0.
        started: when it began, in seconds since the epoch.
        most_series: shown for each service.
    """

    def __init__(self, life: str, started: float = 0.0, most_series: int = MOST_SERIES) -> None:
        self.life = Life(life, started)
        self.series = ShownSeries(most_series)
        self.members: dict[str, Member] = {}
        #: Identities whose cells were dropped after a long silence.
        self.forgotten: dict[str, None] = {}
        self.counts = MergeCounts()
        #: Identities whose cells are part of another one's.
        self.replaced: dict[str, None] = {}
        #: By cell, how much of the growth since this process started was too old for a rate. It only grows.
        self.late: dict[int, float] = {}

    def take(self, message: CellsMessage, now: float, *, catching_up: bool = False) -> bool:
        """Merge one message. A message of a replaced identity is ignored: another identity has its cells.

        Args:
            message: of any publisher, in any order.
            now: monotonic seconds.
            catching_up: whether the message waited in the queue while the collector was away.

        Returns:
            False if there are too many members.
        """
        if message.identity in self.replaced:
            self._count("messages")
            return True
        member = self._member(message)
        if member is None:
            return False
        for identity in message.replaces:
            self._replace(member, identity)
        late = catching_up or _is_late(member, message)
        numbering = member.numbering(message.epoch)
        newest = member.is_newest(message)
        self._note(member, message, now, newest=newest)
        self._define(member, numbering, message.definitions)
        self._merge(member, numbering, message, late=late, newest=newest)
        if message.full:
            member.rebase = False
        return True

    def _member(self, message: CellsMessage) -> Member | None:
        member = self.members.get(message.identity)
        if member is None:
            if len(self.members) >= MOST_MEMBERS:
                self._count("refused_members")
                return None
            member = self.members[message.identity] = Member(message.identity, message.service, message.host)
            if self.forgotten.pop(message.identity, "") is None:
                member.rebase = True
                self._count("rebased")
        return member

    def _replace(self, member: Member, identity: str) -> None:
        """Transfer what is known of another identity to this one, whose cells include them."""
        if identity in self.replaced or identity == member.identity:
            return
        self.replaced[identity] = None
        while len(self.replaced) > MOST_MEMBERS * 10:
            del self.replaced[next(iter(self.replaced))]
        other = self.members.pop(identity, None)
        if other is None:
            if self.forgotten.pop(identity, "") is None:  # its share of the totals is unknown from now on
                member.rebase = True
                self._count("rebased")
            return
        self._take_over(member, other)

    def _take_over(self, member: Member, other: Member) -> None:
        for key, first in other.known.items():
            if first < 0:  # a gauge
                continue
            number = self.series.number_at(other.shown[first])
            own = member.known.get(key)
            if own is None:
                own = member.known[key] = self._lay_out(member, number)
            for offset in range(self.series.width_of(number)):
                member.cells[own + offset] += other.cells[first + offset]

    def _note(self, member: Member, message: CellsMessage, now: float, *, newest: bool) -> None:
        self._count("messages")
        if not newest:
            return
        self._count("gaps", max(0, message.sequence - member.sequence - 1 - message.unsent))
        member.sequence, member.sent_at, member.heard_at = message.sequence, message.sent_at, now
        member.finished, member.lasting = message.final, message.lasting
        member.host, member.machine = message.host, message.machine
        member.first_sent_at = member.first_sent_at or message.sent_at

    def _define(self, member: Member, numbering: array[int], definitions: Iterable[Definition]) -> None:
        for one in definitions:
            end = one.first + one.layout.width
            if end > len(numbering):
                numbering.extend([IGNORED] * (end - len(numbering)))
            if numbering[one.first] == IGNORED:
                self._define_one(member, numbering, one)

    def _define_one(self, member: Member, numbering: array[int], one: Definition) -> None:
        key = series_key(one)
        first = member.known.get(key)
        if first is None:
            target = self.series.target_of(member.service, one.layout, one.labels, one.created)
            if target is None:
                return
            first = member.known[key] = self._lay_out(member, target)
        if first < 0:  # a gauge
            numbering[one.first] = first
            return
        for offset in range(one.layout.width):
            numbering[one.first + offset] = first + offset

    def _lay_out(self, member: Member, number: int) -> int:
        """Give a series of a member its own cells; a gauge has none."""
        target = self.series.targets[number]
        if target.family.kind == GAUGE:
            return -2 - number
        first, cells = len(member.cells), self.series.width_of(number)
        member.cells.extend([0.0] * cells)
        member.shown.extend(range(target.start, target.start + cells))
        return first

    def _merge(self, member: Member, numbering: array[int], message: CellsMessage, *, late: bool, newest: bool) -> None:
        """Raise the cells of a member, and the totals by as much."""
        add: Callable[[int, float], None] = self._add_late if late else self.series.add
        if member.rebase:
            add = _add_nothing
        cells, shown, defined = member.cells, member.shown, len(numbering)
        for number, value in zip(message.numbers, message.values, strict=True):
            own = numbering[number] if number < defined else IGNORED
            if own >= 0:
                grown = value - cells[own]
                if 0.0 < grown < _LARGEST:
                    cells[own] = value
                    add(shown[own], grown)
                elif not 0.0 <= value < _LARGEST:
                    self._count("invalid_cells")
            elif own == IGNORED:
                self._count("ignored_cells" if number < defined else "undefined_cells")
            elif newest:
                _set_gauge(member, -2 - own, value)

    def _add_late(self, cell: int, grown: float) -> None:
        self.series.add(cell, grown)
        self.late[cell] = self.late.get(cell, 0.0) + grown

    def forget(self, now: float, patience: Patience) -> None:
        """Drop the cells of members that were silent for long. Their share of the totals stays."""
        for identity, member in list(self.members.items()):
            if now - member.heard_at > patience.with_member(member):
                del self.members[identity]
                self.forgotten[identity] = None
        while len(self.forgotten) > MOST_MEMBERS * 10:
            del self.forgotten[next(iter(self.forgotten))]

    def _count(self, name: str, number: int = 1) -> None:
        if number:
            self.counts = self.counts._replace(**{name: getattr(self.counts, name) + number})


def series_key(one: Definition) -> int:
    """A 64-bit hash of a publisher's series, the same in every process. Empty labels are ignored."""
    pairs = sorted(f"{name}\0{value}" for name, value in zip(one.layout.labels, one.labels, strict=True) if value)
    text = "\0".join((one.layout.family, *pairs)).encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _is_late(member: Member, message: CellsMessage) -> bool:
    """Whether a message may contain events older than any pace looks back.

    Compares times of the publisher's own clock only: clocks of hosts differ.
    """
    since = member.sent_at or min((one.created for one in message.definitions if one.created), default=message.sent_at)
    return message.sent_at - since > LATE_SECONDS + message.period_seconds


def _set_gauge(member: Member, number: int, value: float) -> None:
    if math.isfinite(value):
        member.gauges[number] = value
    else:
        member.gauges.pop(number, None)


def _add_nothing(_cell: int, _grown: float) -> None:
    """Add nothing: what a forgotten publisher counted before it came back is already in the totals."""
