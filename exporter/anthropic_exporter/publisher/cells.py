"""Decides which cells a publisher sends: those of its host, of its process, or none if another process sends them.

Processes that count together (`host/`) have one sender, and one identity that outlives each of them. A process that
counts alone has an identity of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.host import sent_alone
from anthropic_exporter.metrics.cells import Snapshot
from anthropic_exporter.recorder import Recorder

if TYPE_CHECKING:
    from anthropic_exporter.host.membership import Membership
    from anthropic_exporter.host.shipping import Shipping


class OutgoingCells(NamedTuple):
    """What to send, and under which identity.

    Attributes:
        identity: the owner of the cells.
        snapshot: all of them.
        lasting: they outlive their processes.
        replaces: identities under which some of them were sent before.
    """

    identity: str
    snapshot: Snapshot
    lasting: bool = False
    replaces: tuple[str, ...] = ()


class CellFinder:
    """Finds what one publisher sends.

    Args:
        recorder: of this process.
        queue: names queue and service, the same in every process that publishes there.
    """

    def __init__(self, recorder: Recorder, queue: str) -> None:
        self._recorder, self._queue = recorder, queue
        self._path: Path | None = None
        self._shipping: Shipping | None = None
        self._retired = False
        self._epoch = 0

    def share(self) -> None:
        """Count in shared cells from now on, so that a kill loses nothing."""
        if self._recorder.membership is not None:
            self._recorder.membership.share()

    def read(self) -> OutgoingCells | None:
        """What to send now; None while another process of the host sends it."""
        member = self._recorder.membership
        if member is None or not member.share():
            return self._read_own()
        return self._read_host(member)

    def _read_own(self) -> OutgoingCells | None:
        recorder = self._recorder
        sent_alone.note(recorder, recorder.life)
        member = recorder.membership
        if member is not None and member.is_shared:  # since a moment ago, when this was not noted yet
            return self._read_host(member)
        return OutgoingCells(recorder.life.name, recorder.own_snapshot())

    def _read_host(self, member: Membership) -> OutgoingCells | None:
        shipping = self._shipping_in(member)
        if not shipping.take(ready=not self._retired):
            return None
        identity = member.life(self._recorder.life).name
        return OutgoingCells(identity, self._recorder.snapshot(), lasting=True, replaces=shipping.replaced(identity))

    def _shipping_in(self, member: Membership) -> Shipping:
        if self._shipping is None or self._path != member.path:
            from anthropic_exporter.host.shipping import Shipping  # noqa: PLC0415 - locks files: only where wanted

            self._give_up()
            self._shipping, self._path = Shipping(member.folder, self._queue), member.path
        return self._shipping

    def next_epoch(self) -> int:
        """A number above every one that this identity had before."""
        if self._shipping is not None:
            return self._shipping.next_epoch()
        self._epoch = max(time.time_ns(), self._epoch + 1)
        return self._epoch

    def retire(self) -> None:
        """Tell other processes that this one only sends its last message."""
        self._retired = True
        if self._shipping is not None:
            self._shipping.retire()

    def is_last(self) -> bool:
        """Whether no other process continues to send these cells; called after `retire`."""
        return self._shipping is None or self._shipping.is_last()

    def leave(self) -> None:
        """Let another process send."""
        if self._shipping is not None:
            self._shipping.give_up()

    def _give_up(self) -> None:
        """Leave a folder for another one."""
        if self._shipping is not None:
            self._shipping.retire()
            self._shipping.give_up()
