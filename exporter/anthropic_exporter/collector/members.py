"""What the collector knows of one publisher: its latest cells, and when it last sent a message."""

from __future__ import annotations

from array import array

from anthropic_exporter.transport.cells_message import CellsMessage

#: How many numberings are kept: messages of the previous one may be under way when a publisher restarts.
_KEPT_EPOCHS = 2
IGNORED = -1


class Member:
    """One identity.

    Attributes:
        cells: the largest value received of each cell. Cells are cumulative, so the largest is the newest.
        shown: the cell among the collector's totals that each adds to.
        epochs: for each numbering of the publisher, the own cell of each number; `IGNORED` for none, and for gauges
            `-2 - n` where n is the number of the shown series.
        gauges: the newest value by the number of the shown series.
        known: the first own cell of each series, by a hash of the series' name and labels.
        machine: where the publisher runs, as long as that machine runs; empty if unknown.
        first_sent_at, sent_at: of its oldest and its newest message, by its own clock.
        heard_at: seconds of a clock that never goes back.
        finished: the publisher shut down cleanly.
        lasting: the identity may come back after its end, with the same cells.
        rebase: it was forgotten and came back: its first values count as known.
    """

    __slots__ = (
        "cells",
        "epochs",
        "finished",
        "first_sent_at",
        "gauges",
        "heard_at",
        "host",
        "identity",
        "known",
        "lasting",
        "machine",
        "rebase",
        "sent_at",
        "sequence",
        "service",
        "shown",
    )

    def __init__(self, identity: str, service: str, host: str) -> None:
        self.identity, self.service, self.host = identity, service, host
        self.cells = array("d")
        self.shown = array("I")
        self.epochs: dict[int, array[int]] = {}
        self.gauges: dict[int, float] = {}
        self.known: dict[int, int] = {}
        self.sequence = 0
        self.machine = ""
        self.first_sent_at = self.sent_at = 0.0
        self.heard_at = 0.0
        self.finished = False
        self.lasting = False
        self.rebase = False

    def numbering(self, epoch: int) -> array[int]:
        """Where the numbers of an epoch lead."""
        found = self.epochs.get(epoch)
        if found is None:
            found = self.epochs[epoch] = array("i")
            self.sequence = 0
            while len(self.epochs) > _KEPT_EPOCHS:
                del self.epochs[min(other for other in self.epochs if other != epoch)]
        return found

    def is_newest(self, message: CellsMessage) -> bool:
        """Whether this message is newer than all before it; gauges of older messages are ignored."""
        return message.epoch == max(self.epochs) and message.sequence > self.sequence
