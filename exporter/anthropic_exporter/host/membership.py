"""One recorder's membership of a service: its own cells in the folder, and the merged view of all."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import secrets
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from anthropic_exporter.forking import in_child
from anthropic_exporter.host import multiproc_dir, sent_alone, shipping, stopping
from anthropic_exporter.host.cell_folder import CellFolder, Workers
from anthropic_exporter.host.multiproc_dir import MultiprocFiles
from anthropic_exporter.host.ticking import TICKER
from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Block, Cells, SeriesSample, Snapshot
from anthropic_exporter.metrics.ledger import Life
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.kept_cells import KeptCells
from anthropic_exporter.metrics.stores.mapped_cells import MappedCells
from anthropic_exporter.metrics.stores.merge import Merge
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds
from anthropic_exporter.recording.intake import Intake

_log = Log("anthropic_exporter")
_PUBLISH_SECONDS = 1.0
#: The process that holds the port may still count alone; it notices others within a tick.
_WAIT_SECONDS = 1.0
#: A move into a new file waits for that many bytes more than its old one has, and for so long after the last try.
_LEAST_ROOM, _MOVE_EVERY_SECONDS = 64 << 10, 5.0
#: How long a scrape waits for another one to be merged.
_PATIENCE_SECONDS = 1.0
_FAMILIES = {family.name: family for family in f.FAMILIES}
_AGES = (f.OLDEST_INFLIGHT.name, f.LONGEST_SILENCE.name)
_RATE_LIMITS = (f.RATELIMIT_LIMIT.name, f.RATELIMIT_REMAINING.name, f.RATELIMIT_RESET.name)
_NOT_STORED = (f.WORKERS.name,)
_FREE_SPACE = "free space there, or choose another folder with ANTHROPIC_EXPORTER_RUNTIME_DIR"
_OTHER_USER = "serve after the process has changed its user"
#: The limit that is reached when a label set finds no space in the file.
_NO_ROOM = "cell_file"


class Membership:
    """Puts a recorder's cells into the shared folder of its service.

    Args:
        recorder: the owner of the cells.
        path: the folder of the service.
    """

    def __init__(self, recorder: Intake, path: Path) -> None:
        self._recorder = recorder
        self.path = path
        self._cells: MappedCells | None = None
        self._was_logged = False
        self._leaves_at_exit = False
        self._start_anew()
        in_child(self._start_anew, first=True)

    def _start_anew(self) -> None:
        self._merging = SafeLock()
        self._merge: Merge | None = None
        self._merged = Snapshot([], {}, {})
        self._kept: KeptCells | None = None
        #: The copy that other processes see while there is no room for the cells themselves.
        self._left: CellFile | None = None
        self._next_move = 0.0
        self._merges = False
        self._multiproc = MultiprocFiles()
        self._published = 0.0
        self._life: Life | None = None
        self._token = secrets.token_hex(4)

    @property
    def folder(self) -> CellFolder:
        """The folder of the service."""
        return CellFolder.at(self.path)

    @property
    def is_shared(self) -> bool:
        """Whether the recorder writes into shared cells."""
        return self._recorder.sharing is self

    def open(self, *, alone: bool) -> None:
        """Join the service. While this process holds the port and is alone, its cells stay plain lists."""
        if alone and not self.folder.has_company():
            self._keep_copy()
            return
        self.share()
        if not alone:
            self.folder.wait_for(self.folder.holder(), _WAIT_SECONDS)

    # -- alone

    def _keep_copy(self) -> None:
        """Copy the recorder's plain cells to a file from now on, where the next process of the service finds them.

        If there can be no file, the process counts alone, without what the service counted before: it could not
        continue that for the process after it.
        """
        if self._kept is not None or self.is_shared:
            return
        with contextlib.suppress(OSError):
            self._take_care()
        try:
            self.life(self._recorder.life)
            self._make_copy()
        except OSError as error:
            self._recorder.keeper = None
            self._life = self._recorder.life
            _log.warning(
                "%s: the counts of this process are not kept for its successor; free space there, or choose another "
                "folder with ANTHROPIC_EXPORTER_RUNTIME_DIR (%s)",
                self.path,
                error.strerror or error,
            )
            return
        self._leave_at_exit()
        TICKER.add(self.tick)

    def _make_copy(self) -> None:
        """Make a copy; it includes calls that are counted in the meantime.

        Raises:
            OSError: the folder is gone, or the disk full.
        """
        before, kept = self._kept, KeptCells()
        file = kept.file = self.folder.make_file(self._token)
        file.mark_copied()
        self._note_replaced()
        self._kept, self._recorder.keeper = kept, self
        self._recorder.begin_at_zero(f.LIMITS_REACHED, _NO_ROOM)  # so that it has a place once there is no room
        self._recorder.publish()
        try:
            if before is not None and kept.lacks_room:
                _no_file()
            self.folder.show_file(file, kept)
        except OSError:
            self._kept = before
            self.folder.drop_file(file)
            raise
        weakref.finalize(self._recorder, self.folder.end_file, file).atexit = False

    def withdraw(self) -> None:
        """Leave no copy in the folder, because this process does not serve the port or serves another one."""
        if self._kept is not None and self._kept.file is not None:
            self.folder.remove_file(self._kept.file)
            self._stop_keeping()

    def _stop_keeping(self) -> None:
        kept, self._kept, self._recorder.keeper = self._kept, None, None
        if kept is not None and kept.file is not None:
            kept.file.close()

    def keep(self, cells: Cells) -> None:
        """Copy what changed."""
        kept = self._kept
        if kept is not None:
            kept.keep(cells)
            if kept.failure is not None:
                error, kept.failure = kept.failure, None
                self._failed(error)

    def _leave_at_exit(self) -> None:
        if not self._leaves_at_exit:
            self._leaves_at_exit = True
            itself = weakref.ref(self)

            def leave() -> None:
                member = itself()
                if member is not None:
                    member.leave()

            atexit.register(leave)

    def leave(self) -> None:
        """Count in the file from now on, because this process ends: what comes after this is not lost either."""
        if self._kept is not None and self.share() and self._cells is not None and self._cells.file is not None:
            self._say_goodbye(self._cells.file)  # what is registered at the end of the interpreter is not called

    # -- the recorder's store

    def share(self, *, wait: bool = True) -> bool:
        """Move the recorder's numbers into the folder. Without `wait`, returns False if another thread is doing so."""
        return self.is_shared or self._recorder.share(self, wait=wait)

    def adopt(self, cells: Cells) -> tuple[Cells, Mapping[int, Block]]:
        """Return shared cells with the numbers of `cells`; other processes see all of them at once."""
        if cells is self._cells:
            return self._move_again(cells)
        if self._kept is None:  # a page that began at 0 becomes part of the service's
            self._life = None
        mapped = self._mapped(self._make_hidden_file)
        mapped.open_file()
        self._note_replaced()
        moved = mapped.adopt(cells)
        if mapped.file is not None:
            self._show(mapped.file)
            mapped.make_file_by(self._make_file, self._failed)
            self._stop_keeping()
        else:
            self._count_without_file(mapped)
        return mapped, moved

    def _move_again(self, cells: Cells) -> tuple[Cells, Mapping[int, Block]]:
        """Move from shared cells into a new file.

        Raises:
            OSError: there is no room for all of it; everything is as before.
        """
        before, mapped = self._cells, MappedCells(self._recorder.clock, self._make_hidden_file, _refuse)
        file = mapped.file = self._make_hidden_file()
        self._note_replaced()
        try:
            moved = mapped.adopt(cells)
            self._cells = mapped
            self._show(file)
        except OSError:
            self._cells = before
            self.folder.drop_file(file)
            raise
        mapped.make_file_by(self._make_file, self._failed)
        if self._left is not None:
            self._left.close()
        return mapped, moved

    def _count_without_file(self, mapped: MappedCells) -> None:
        """Count in memory that other processes do not see. They still see the copy; no other file may replace it."""
        self.folder.own(self._token, mapped)
        if self._kept is None:
            mapped.make_file_by(self._make_file, self._failed)
        else:
            self._left = self._kept.file
            self._kept, self._recorder.keeper = None, None
            mapped.make_file_by(_no_file, self._failed)

    def _note_replaced(self) -> None:
        """Note for a collector that already has these numbers under another name: it must not add them twice."""
        own = sent_alone.life_of(self._recorder)
        if own is not None and self.life(own).name != own.name:
            try:
                shipping.note_replaced(self.folder, (own.name,))
            except OSError as error:
                self._failed(error)

    def child_cells(self) -> Cells:
        """Return cells for a forked child, which makes its file when it first counts something."""
        cells = self._mapped(self._make_file)
        self.folder.own(self._token, cells)
        return cells

    def _mapped(self, make_file: Callable[[], CellFile]) -> MappedCells:
        self._cells = MappedCells(self._recorder.clock, make_file, self._failed)
        return self._cells

    def _make_hidden_file(self) -> CellFile:
        return self.folder.make_file(self._token)

    def _make_file(self) -> CellFile:
        file = self._make_hidden_file()
        self._show(file)
        return file

    def _show(self, file: CellFile) -> None:
        assert self._cells is not None  # noqa: S101 - it is their file
        self.life(self._recorder.life)  # known to each process: one of them may have to write it again
        self.folder.show_file(file, self._cells)
        self._recorder.begin_at_zero(f.LIMITS_REACHED, _NO_ROOM)  # so that it has a place once there is no room
        _at_exit(lambda: self._say_goodbye(file))
        TICKER.add(self.tick)

    def _say_goodbye(self, file: CellFile) -> None:
        """Write what another thread was about to write, because it stops when the interpreter ends."""
        self._recorder.publish()
        self._next_move = 0.0
        self._use_new_room()
        for one in (file, None if self._cells is None else self._cells.file):
            if one is not None:
                one.say_goodbye()

    def _failed(self, error: OSError) -> None:
        self._recorder.count(f.LIMITS_REACHED, _NO_ROOM)
        TICKER.add(self.tick)
        if not self._was_logged:
            self._was_logged = True
            _log.warning(
                "%s: new label sets of this process are shown only by this process, not by the other workers; %s (%s)",
                self.path,
                _OTHER_USER if isinstance(error, PermissionError) else _FREE_SPACE,
                error.strerror or error,
            )

    def move(self, path: Path) -> None:
        """Move to the folder of another service, with everything that was counted."""
        old, old_cells, was_shared = self.folder, self._cells, self.is_shared
        if path == self.path:
            return
        self.withdraw()
        self.path, self._cells = path, None
        self._start_anew()
        if not was_shared or old_cells is None:
            return
        try:
            shipping.hand_over(old, self.folder)
        except OSError as error:
            self._failed(error)
        self._recorder.share(self, wait=True)
        if old_cells.file is not None:
            old.remove_file(old_cells.file)
        old.bring_to(path, self.bounds())

    # -- the view of all

    def publish(self, gauges: Mapping[str, Sequence[SeriesSample]]) -> None:
        """Show the gauges of this process to the others."""
        cells = self._kept or self._cells
        if cells is None or cells.file is None:
            return
        now = self._recorder.clock()
        for name, readings in gauges.items():
            if name not in _NOT_STORED:
                for reading in readings:
                    block = cells.gauge(_FAMILIES[name], reading.labels)
                    block[0], block[1] = reading.values[0], self._time_of(name, reading, now)

    def _time_of(self, name: str, reading: SeriesSample, now: float) -> float:
        """The time that decides which gauge counts: its beginning for an age, otherwise its last change."""
        if name in _AGES:
            return now - reading.values[0] if reading.values[0] else 0.0
        return self._recorder.rate_limits_at(reading.labels[0]) if name in _RATE_LIMITS else now

    def snapshot(self, own: Snapshot | None = None) -> Snapshot:
        """The numbers of all processes; those of the previous scrape if another merge takes too long.

        `own` are those of this process, if it may be the only one.
        """
        if own is not None and self._is_only_one():
            return own
        try:
            if self._merging.wait(this_frame(), _PATIENCE_SECONDS):
                self._merged = self._merge_all()
            else:  # or a merge further up in this very thread, if a signal handler renders
                self._recorder.count(f.STALE_SCRAPES)
            return self._merged
        finally:
            self._merging.release(this_frame())

    def _is_only_one(self) -> bool:
        """Whether no other process has or left any number here; once false, it stays false."""
        kept = self._kept
        if kept is None or kept.file is None or self._merges:
            return False
        self._merges = self.folder.has_others(kept.file)
        return not self._merges

    def _merge_all(self) -> Snapshot:
        began = time.perf_counter()
        sources, workers = self.folder.sources()
        merge, self._merge = self._merge or Merge(self.bounds()), None  # interrupted: the next merge starts over
        snapshot = merge.snapshot(sources, self._recorder.clock())
        self._merge = merge
        return snapshot._replace(
            gauges={
                **snapshot.gauges,
                **_about(workers),
                f.MERGE_FOLDED.name: merge.folded(),
                f.MERGE_SECONDS.name: _one(time.perf_counter() - began),
            }
        )

    def others(self) -> Snapshot:
        """The numbers of all processes but this one."""
        sources, _ = self.folder.sources()
        return Merge(self.bounds()).snapshot([one for one in sources if not one.is_own], self._recorder.clock())

    def life(self, own: Life) -> Life:
        """The life of the service's counters; `own` is that of this process, which the service takes if it has none."""
        if self._life is None:
            self._life = self.folder.life(own)
        return self._life

    def bounds(self) -> MergedBounds:
        """The bounds over all processes, still empty."""
        return MergedBounds(self._recorder.label_bounds(), self._recorder.settings.max_series)

    # -- a few times a second

    def tick(self) -> None:
        """Publish gauges, and fold the files of ended processes if that is this process's part."""
        if self._kept is not None:
            self._tick_alone()
        now = time.monotonic()
        if (self.is_shared or self._kept is not None) and now - self._published >= _PUBLISH_SECONDS:
            self._published = now
            self.folder.remember()
            self._replace_deleted_file()
            self._use_new_room()
            self._recorder.publish()
            self._take_care()

    def _tick_alone(self) -> None:
        if stopping.is_stopping():
            self.leave()
        else:
            self._recorder.keep()

    def _replace_deleted_file(self) -> None:
        """Write a new file if somebody deleted this process's."""
        cells = self._kept or self._cells
        if cells is not None and cells.file is not None and os.fstat(cells.file.fd).st_nlink == 0:
            self._replace_file(cells.file)

    def _use_new_room(self) -> None:
        """Write a new file with all that this process counted, once there is room for what found none before."""
        cells, now = self._kept or self._cells, time.monotonic()
        if cells is None or not cells.lacks_room or now < self._next_move:
            return
        size = 0 if cells.file is None else os.fstat(cells.file.fd).st_size
        if self.folder.has_room(size + _LEAST_ROOM):
            self._next_move = now + _MOVE_EVERY_SECONDS
            with contextlib.suppress(OSError):  # a quota
                self._replace_file(cells.file)
                self._was_logged = False

    def _replace_file(self, file: CellFile | None) -> None:
        """Write all that this process counted into a new file.

        Raises:
            OSError: there is no room for it; everything is as before.
        """
        if self.is_shared:
            self._recorder.share(self, wait=True)
        else:
            self._make_copy()
        if file is not None:
            file.close()

    def _take_care(self) -> None:
        folder = self.folder
        if folder.is_caretaker():
            folder.fold_ended(self.bounds())
            if multiproc_dir.is_wanted():
                self._multiproc.write(self._recorder.read())


def _no_file() -> CellFile:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refuse(error: OSError) -> None:
    raise error


def _about(workers: Workers) -> dict[str, list[SeriesSample]]:
    return {
        f.WORKERS.name: [SeriesSample((state,), [float(number)], 0.0) for state, number in workers._asdict().items()]
    }


def _one(value: float) -> list[SeriesSample]:
    return [SeriesSample((), [value], 0.0)]


def _at_exit(say_goodbye: Callable[[], None]) -> None:
    """Say goodbye when the process shuts down cleanly: the interpreter, `multiprocessing`, or Celery's billiard."""
    atexit.register(say_goodbye)
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, say_goodbye, exitpriority=0)
