"""What a collector counted, from its state: tokens and dollars by model, tier and type, as one sum without hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter.collector import state_file
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import series
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile.lines import HOUR, Amount, LineKey
from anthropic_exporter.reconcile.recorded import canonical

#: A copy that was made this near to a full hour is taken as made at it.
_NEAR_SECONDS = 60
_Key = tuple[str, ...]


class Collected(NamedTuple):
    """What was counted between two moments.

    `start` and `end` are full hours around it, in Unix seconds. `edges` are the hours that it covers in part.
    """

    start: int
    end: int
    edges: frozenset[int]
    amounts: dict[tuple[int, LineKey], Amount]


class _Totals(NamedTuple):
    """The totals of one collector when they were saved; `began` is when its oldest counter began."""

    path: Path
    life: str
    began: float
    saved_at: float
    tokens: dict[_Key, float]
    dollars: dict[_Key, float]


def read(paths: Sequence[Path], since: Sequence[Path], book: PriceBook) -> Collected:
    """The sum over collectors.

    Args:
        paths: a folder of a collector, or a copy of the file in it; one for each shard.
        since: older copies of the same states; without them, all that was ever counted.
        book: for the bill's names of models.

    Raises:
        ConfigurationError: a state cannot be read, is empty, or an older copy is not of the same totals.
    """
    newest, older = [_totals(path) for path in paths], {one.life: one for one in map(_totals, since)}
    if len(older) not in (0, len(newest)):
        raise ConfigurationError(f"reconcile: give --since once for each --state: {len(newest)} times")
    pairs = [(one, _before(one, older)) for one in newest]
    began = min(one.began if before is None else before.saved_at for one, before in pairs)
    ended = max(one.saved_at for one, _ in pairs)
    start, end, edges = hours_around(began, ended)
    return Collected(start, end, edges, _amounts(pairs, start, book))


def hours_around(began: float, ended: float) -> tuple[int, int, frozenset[int]]:
    """The full hours around two moments, and those of them that are covered in part."""
    start, end = (_nearest(at) for at in (began, ended))
    if end <= start:
        return _hour(began), _hour(ended) + HOUR, frozenset((_hour(began), _hour(ended)))
    edges = frozenset(_hour(at) for at in (began, ended) if not _is_full_hour(at))
    return (
        start if _is_full_hour(began) else _hour(began),
        end if _is_full_hour(ended) else _hour(ended) + HOUR,
        edges,
    )


def _before(one: _Totals, older: dict[str, _Totals]) -> _Totals | None:
    if not older:
        return None
    before = older.get(one.life)
    if before is None:
        raise ConfigurationError(
            f"{one.path}: its totals were reset after the copy given as --since: compare without --since"
        )
    if before.saved_at > one.saved_at:
        raise ConfigurationError(f"{before.path}: is newer than {one.path}: give the older one as --since")
    return before


def _totals(path: Path) -> _Totals:
    file = path / state_file.NAME if path.is_dir() else path
    saved = state_file.read(file)
    if saved is None:
        raise ConfigurationError(f"{file}: there is no state here: give the folder that the collector uses as --state")
    stored = saved.fleet.series.stored
    began = [one.created for family in (series.TOKENS, series.COST) for one in stored.get(family.name, ())]
    if not began:
        raise ConfigurationError(f"{file}: no process has counted anything yet")
    return _Totals(
        file,
        saved.fleet.life.name,
        min(began),
        saved.saved_at or file.stat().st_mtime,
        dict(_of_family(saved, series.TOKENS.name)),
        dict(_of_family(saved, series.COST.name)),
    )


def _of_family(saved: state_file.SavedState, name: str) -> Iterator[tuple[_Key, float]]:
    shown = saved.fleet.series
    for one in shown.stored.get(name, ()):
        yield one.labels, shown.totals[shown.targets[one.block].start]


def _amounts(
    pairs: Sequence[tuple[_Totals, _Totals | None]], start: int, book: PriceBook
) -> dict[tuple[int, LineKey], Amount]:
    found: dict[tuple[int, LineKey], Amount] = {}
    sides: tuple[tuple[Callable[[_Totals], dict[_Key, float]], bool], ...] = (
        (lambda one: one.tokens, False),
        (lambda one: one.dollars, True),
    )
    for side, is_cost in sides:
        for one, before in pairs:
            known = {} if before is None else side(before)
            for labels, value in side(one).items():
                grown = value - known.get(labels, 0.0)
                key = start, _place(labels, book)
                amount = Amount(0.0, grown) if is_cost else Amount(grown, 0.0)
                if grown:
                    found[key] = found.get(key, Amount()).plus(amount)
    return found


def _place(labels: _Key, book: PriceBook) -> LineKey:
    named = dict(zip(series.TOKENS.labels, labels, strict=False))  # the collector's service is behind them
    return LineKey(canonical(named["model"], book), named["tier"] or "standard", named["type"])


def _hour(at: float) -> int:
    return int(at) // HOUR * HOUR


def _nearest(at: float) -> int:
    return round(at / HOUR) * HOUR


def _is_full_hour(at: float) -> bool:
    return abs(at - _nearest(at)) <= _NEAR_SECONDS
