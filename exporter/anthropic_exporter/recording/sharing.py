"""The interface of a store that several processes share, as a recorder sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from anthropic_exporter.metrics.cells import Block, Cells, SeriesSample, Snapshot


class Sharing(Protocol):
    """The cells of this process in a store that other processes read, and the view of all of them."""

    def adopt(self, cells: Cells) -> tuple[Cells, Mapping[int, Block]]:
        """Shared cells with the numbers of `cells`, and their blocks by the `id` of the old ones. The lock is held."""
        ...

    def child_cells(self) -> Cells:
        """Empty shared cells for a forked child."""
        ...

    def publish(self, gauges: Mapping[str, Sequence[SeriesSample]]) -> None:
        """Show the gauges of this process to the others. The recorder's lock is held."""
        ...

    def snapshot(self, own: Snapshot) -> Snapshot:
        """The numbers of all processes; `own` are those of this one. The recorder's lock is not held."""
        ...


class Keeper(Protocol):
    """A copy of the cells of a process that is alone, which outlives it."""

    def keep(self, cells: Cells) -> None:
        """Copy what changed. The recorder's lock is held."""
        ...

    def publish(self, gauges: Mapping[str, Sequence[SeriesSample]]) -> None:
        """Copy the gauges as well. The recorder's lock is held."""
        ...

    def snapshot(self, own: Snapshot) -> Snapshot:
        """The numbers of this process, which are `own`, and of those that ended. The recorder's lock is not held."""
        ...
