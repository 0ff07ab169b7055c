"""Maps the counters of many processes to windows and budgets: which of their columns each cell adds to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from anthropic_exporter.call import NO_FAILURE
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Series, Snapshot

#: Behind the columns of a place's windows: what the day's budgets count. Batches spend, but have no pace.
DAY_TOKENS, DAY_USD = w.COLUMNS, w.COLUMNS + 1
WIDTH = w.COLUMNS + 2
_BATCH = "batch"
_TOKENS = {
    "input": (w.PROMPT,),
    "cache_read": (w.PROMPT, w.CACHE_READ),
    "cache_write_5m": (w.PROMPT,),
    "cache_write_1h": (w.PROMPT,),
    "output": (w.OUTPUT,),
}
_REFUSED = {"rate_limit_error": w.RATE_LIMITED, "overloaded_error": w.OVERLOADED}
_CACHE_RESULTS = {"hit": w.HITS, "miss": w.MISSES}
_HISTOGRAMS = {
    f.DURATION.name: w.DURATIONS_AT,
    f.REQUEST_OUTPUT_TOKENS.name: w.ANSWERS_AT,
    f.TTFT.name: w.FIRST_TOKENS_AT,
}

#: The columns of every (feature, model).
Totals = dict[tuple[str, str], list[float]]


def columns_of(family: str, labels: Mapping[str, str]) -> tuple[int, ...]:
    """The columns that a counter adds to, or that the buckets of a histogram start at; none if it is not needed."""
    interactive = labels.get("tier") != _BATCH
    if family == f.COST.name:
        return (w.COST, DAY_USD) if interactive else (DAY_USD,)
    if family == f.TOKENS.name:
        pace = _TOKENS.get(labels["type"], ()) if interactive else ()
        return pace if labels["type"] == "cache_read" else (*pace, DAY_TOKENS)
    if family == f.REQUESTS.name:
        outcome = labels["outcome"]
        return (w.REQUESTS,) if outcome in NO_FAILURE else (w.REQUESTS, _REFUSED.get(outcome, w.FAILED))
    if family == f.CACHE_REQUESTS.name:
        return (_CACHE_RESULTS.get(labels["result"], w.UNASKED),)
    if family == f.CACHE_MISS_COST.name:
        return (w.MISS_COST,)
    return (_HISTOGRAMS[family],) if family in _HISTOGRAMS else ()


class _Cells(NamedTuple):
    """The cells of one series, and where they belong."""

    block: int
    start: int
    number: int
    place: tuple[str, str]
    columns: tuple[int, ...]


class PlaceTotals:
    """Reads the columns of every (feature, model) from snapshots of one merge, whose series only ever grow."""

    def __init__(self) -> None:
        self._cells: list[_Cells] = []
        self._known: dict[str, int] = {}

    def read(self, snapshot: Snapshot) -> Totals:
        """The totals of a snapshot. They never fall: the same cells are summed in the same order."""
        for family in f.FAMILIES:
            self._learn(family, snapshot.series_of(family.name))
        found: Totals = {}
        for block, start, number, place, columns in self._cells:
            totals = found.get(place)
            if totals is None:
                totals = found[place] = [0.0] * WIDTH
            cells = snapshot.blocks[block]
            for column in columns:
                for offset in range(number):
                    totals[column + offset] += cells[start + offset]
        return found

    def _learn(self, family: f.Family, series: Sequence[Series]) -> None:
        for one in series[self._known.get(family.name, 0) :]:
            labels = dict(zip(family.labels, one.labels, strict=True))
            columns = columns_of(family.name, labels)
            if columns:
                number = len(family.buckets) + 1 if family.kind == f.HISTOGRAM else 1
                place = (labels["feature"], labels["model"])
                self._cells.append(_Cells(one.block, one.start, number, place, columns))
        self._known[family.name] = len(series)


def grown(now: Totals, before: Totals) -> Totals:
    """What was added since `before`, for places that changed. A total that is smaller than before is new."""
    found: Totals = {}
    for place, totals in now.items():
        earlier = before.get(place)
        if totals != earlier:
            found[place] = totals if earlier is None else list(map(_added, totals, earlier))
    return found


def _added(now: float, before: float) -> float:
    return now - before if now >= before else now
