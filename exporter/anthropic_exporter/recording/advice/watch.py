"""The one object that a recorder asks: what is remembered of a request, and what its call adds to the counters."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

from anthropic_exporter.call import SUCCESS, Bill, Call, Sight
from anthropic_exporter.metrics.line import Line
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import USUAL_MINIMUM_TOKENS
from anthropic_exporter.recording.advice import spending
from anthropic_exporter.recording.advice.prefixes import Sampler
from anthropic_exporter.recording.advice.repeats import Repeats
from anthropic_exporter.recording.advice.sums import Add, Sums, SumsByPlace, Where
from anthropic_exporter.wire.plain_answer import Counts

#: Calls that are counted together.
_TOGETHER = 32
#: Faster than ten attributes, one by one.
_parts_of: Callable[[Call], Any] = itemgetter(
    *map(Call._fields.index, ("model", "outcome", "inferences", "tier", "started_at", "stop_reason", "cache_asked")),
    *map(Call._fields.index, ("regional", "inference_geo", "prompt")),
)


class _Place(NamedTuple):
    """Calls of one feature and model: their sums, the least tokens that are cached, and whether long prompts cost more.

    `model` is the one that served.
    """

    model: str
    sums: Sums
    minimum: int
    has_cliff: bool


class _Kind(NamedTuple):
    """What the calls of one line have in common. `is_standard`: of the tier; `is_somewhere`: in a region."""

    sums: Sums
    minimum: int
    is_standard: bool
    is_cut_off: bool
    is_somewhere: bool


#: The arguments of `Repeats.write`.
_Waiting = tuple[Sight, float, Counts, int, Sums, bool]


class AdviceWatch:
    """Watches the requests of one process.

    Args:
        failed: takes a failure of this class, which never reaches the call that it is about.

    Attributes:
        sight: what is remembered of a request; called on the application's thread. See `Sampler.sight`.
    """

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._repeats = Repeats()
        self._sums = SumsByPlace()
        self._places: dict[Where, _Place] = {}
        self._waiting: list[_Waiting] = []
        self.sight = Sampler(self._repeats.prefixes, failed).sight

    def write(self, call: Call, bill: Bill, book: PriceBook, where: Where) -> None:
        """Take a priced call, with the lock held. `where` are the labels model and feature of its series."""
        model, outcome, inferences, tier, at, stop_reason, asked, is_regional, geo, seen = _parts_of(call)
        if outcome != SUCCESS or not inferences:
            return
        try:
            place = self._places.get(where)
            if place is None or place[0] != model:
                place = self._learn(model, book, where)
            _, sums, minimum, has_cliff = place
            tokens, cost = inferences[0][1], bill[0][0]
            if cost is not None:
                fresh_usd, read_usd, short_usd, long_usd, output_usd = cost
                is_unstreamed = seen[3] and tier == "standard"
                usd = fresh_usd + read_usd + short_usd + long_usd + output_usd if is_unstreamed else 0.0
                spending.write(usd, output_usd, tokens[4], sums, stop_reason == "max_tokens")
                if has_cliff or is_regional or geo in spending.SOMEWHERE:
                    spending.write_rare(call, bill, book, sums)
        except Exception as error:  # noqa: BLE001 - the error boundary: the call itself is counted
            self._failed("advice", error)
            return
        waiting = self._waiting
        waiting.append((seen, at, tokens, minimum, sums, asked))
        if len(waiting) >= _TOGETHER:
            self._write_waiting()

    def write_plain(self, line: Line, counts: Counts, at: float, seen: Sight, *, asked: bool) -> bool:
        """Take an answer that is written by a line, with the lock held. Returns False if only `write` can count it."""
        kind = line.advice
        if kind is None:
            kind = line.advice = self._kind_of(line)
        sums, minimum, is_standard, is_cut_off, is_somewhere = kind
        rates = line.rates
        if is_somewhere or (line.long_rates is not None and line.rates_of(counts) is not rates):
            return False
        fresh, read, short, long, output = counts
        fresh_rate, read_rate, short_rate, long_rate, output_rate = rates
        output_usd = output * output_rate
        usd = fresh * fresh_rate + output_usd
        if read or short or long:
            asked = True
            usd = fresh * fresh_rate + read * read_rate + short * short_rate + long * long_rate + output_usd
        spending.write(usd if is_standard and seen[3] else 0.0, output_usd, output, sums, is_cut_off)
        waiting = self._waiting
        waiting.append((seen, at, counts, minimum, sums, asked))
        if len(waiting) >= _TOGETHER:
            self._write_waiting()
        return True

    def _kind_of(self, line: Line) -> _Kind:
        like, place = line.like, line.slot.place
        _, sums, minimum, _ = self._learn(like.model, line.book, (place.model, place.feature))
        is_cut_off = like.stop_reason == "max_tokens"
        return _Kind(sums, minimum, like.tier == "standard", is_cut_off, spending.is_somewhere(like))

    def _write_waiting(self) -> None:
        """Count what was sent again: many in a row cost a third of what they cost one by one."""
        waiting, self._waiting = self._waiting, []
        write = self._repeats.write
        for seen, at, tokens, minimum, sums, asked in waiting:
            try:
                write(seen, at, tokens, minimum, sums, asked)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed("advice", error)

    def write_counts(self, add: Add) -> None:
        """Bring the counters up to date, with the lock held."""
        self._write_waiting()
        self._sums.write_counts(add)

    def _learn(self, model: str, book: PriceBook, where: Where) -> _Place:
        known, sums = book.model(model), self._sums.of(where)
        found = _Place(model, sums, USUAL_MINIMUM_TOKENS, has_cliff=False)
        if known is not None:
            has_cliff = any(row.long_rates is not None for row in known.rows)
            found = _Place(model, sums, known.min_cacheable_tokens, has_cliff)
        self._places[where] = found
        return found
