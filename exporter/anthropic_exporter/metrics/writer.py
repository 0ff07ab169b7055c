"""Writes a priced `Call` into cells. Writes happen under the recorder's lock and allocate only for new label sets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from anthropic_exporter.call import (
    SUCCESS,
    Bill,
    Call,
    Cost,
    Tokens,
)
from anthropic_exporter.metrics import exact_sum
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import label_bounds
from anthropic_exporter.metrics.cells import Block, Cells, SeriesSample
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.metrics.label_sets import LabelSets, Place, Slot
from anthropic_exporter.metrics.layout import (
    CACHE_READ,
    CACHE_READ_USD,
    CACHE_RESULT,
    CACHE_WRITE_1H,
    CACHE_WRITE_1H_USD,
    CACHE_WRITE_5M,
    CACHE_WRITE_5M_USD,
    CALL_DURATION,
    CALL_DURATION_SUM,
    COST,
    COST_SUM,
    DURATION,
    DURATION_SUM,
    ESTIMATED,
    INPUT,
    INPUT_USD,
    MISS_COST,
    OUTPUT,
    OUTPUT_TOKENS,
    OUTPUT_TOKENS_SUM,
    OUTPUT_USD,
    PREMIUM,
    SAVINGS,
    SUMS,
    THINKING,
    TTFT,
    TTFT_SUM,
    USD_REST,
    USD_SINCE,
)
from anthropic_exporter.metrics.line import Line, write_spend
from anthropic_exporter.metrics.series_budget import DEFAULT_SERIES
from anthropic_exporter.pricing.book import Card, PriceBook
from anthropic_exporter.wire.headers import RateLimitHeaders, RawHeaders, heading

if TYPE_CHECKING:
    from anthropic_exporter.wire.rate_limits import RateLimit

#: Eight resources have a limit, a remainder and a reset.
_RATE_LIMIT_FAMILIES = (f.RATELIMIT_LIMIT, f.RATELIMIT_REMAINING, f.RATELIMIT_RESET) * 8
#: Blocks as they were before a batch was written, by identity.
Before = dict[int, tuple[Block, Any]]


class Metrics:
    """Writes calls into cells and reads the gauges that are computed at a scrape.

    Args:
        clock: seconds since the epoch.
        features: the only feature names let in; None for the first 100.
        users: the only user names let in; None for the first 200.
        max_series: series of all label sets together; see `SeriesBudget`.
        cells: where to write; plain lists if None.

    Attributes:
        before: gets each block as it was before it was written to. Who writes a batch gives it an empty one.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        features: Iterable[str] | None = None,
        cells: Cells | None = None,
        users: Iterable[str] | None = None,
        max_series: int = DEFAULT_SERIES,
    ) -> None:
        self.cells = Cells(clock) if cells is None else cells
        self._clock = clock
        self.label_sets = LabelSets(self.cells, label_bounds(features, users), max_series, self._overflowed)
        self._rate_limit_headers: dict[str, tuple[float, RateLimitHeaders | RawHeaders]] = {}
        self._last_record = 0.0
        self._unsettled = 0
        self.before: Before = {}

    def undo_batch(self) -> None:
        """Restore every block to its state before the batch. Idempotent."""
        for block, saved in self.before.values():
            self.cells.restore(block, saved)

    def _touch(self, block: Block) -> Block:
        """The block, to be written to."""
        key = id(block)
        if key not in self.before:
            self.before[key] = (block, self.cells.saved(block))
        return block

    def _overflowed(self, label: str) -> None:
        self.count(f.LABEL_OVERFLOW, (label,))

    def count(self, family: Family, labels: tuple[str, ...], value: float = 1.0) -> None:
        """Add to a counter with few label sets."""
        self._touch(self.label_sets.counter(family, labels))[0] += value

    def set(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge with few label sets."""
        self._touch(self.label_sets.counter(family, labels))[0] = value

    def observe(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Add to a histogram with few series. The last label may come from outside: it is bounded here."""
        if family.labels and family.labels[-1] in self.label_sets.bounds:
            labels = (*labels[:-1], self.label_sets.fold(family.labels[-1], labels[-1]))
        block = self._touch(self.label_sets.counter(family, labels))
        block[bisect_left(family.buckets, value)] += 1.0
        block[-1] += value

    def begin(self, family: Family, labels: tuple[str, ...]) -> None:
        """Make a series exist at 0, so that `rate()` sees its first growth."""
        self.label_sets.counter(family, labels)

    def count_event(self, family: Family, labels: tuple[str, ...]) -> None:
        """Add one to a counter whose label values come from outside: they are bounded here."""
        if family is not f.REMEDY_ACTIONS:  # its outcomes are our own words, not a server's
            labels = self.label_sets.folded(family, labels)
        self.count(family, labels)

    def write(self, call: Call, bill: Bill, now: float | None = None) -> Slot:
        """Write one call that ended at `now`, and its bill. Returns its slot, which has the labels."""
        now = self._clock() if now is None else now
        self._last_record = now
        key = (call.model, call.feature, call.user, call.tier, call.outcome)
        slot = self.label_sets.slots.get(key) or self.label_sets.open(call, key)
        if call.requests:
            self._touch(slot.requests)[0] += 1.0
            self._write_times(call, slot.place)
        if call.inferences:
            self._write_spend(call, bill, slot, int(now))
            self._unsettled += 1
            if self._unsettled >= exact_sum.SETTLE_EVERY:
                self.settle()
        stop_reason = call.stop_reason
        if stop_reason:
            self._touch(slot.stop_reasons.get(stop_reason) or self._stop_reason(slot, stop_reason))[0] += 1.0
        if call.rate_limit_headers:
            self.keep_rate_limits(slot.place.model, call.started_at, call.rate_limit_headers)
        if call.retry_reason or call.cache_miss_reason or call.server_tools or call.estimated_output_tokens:
            self._write_rare(call, slot)
        if bill.estimates or bill.server_tools or call.unmetered:
            self._write_doubts(call, bill, slot)
        return slot

    def line(self, call: Call, slot: Slot, card: Card, book: PriceBook) -> Line | None:
        """The line of calls like this one, which was written to `slot`. None where one of its labels was folded."""
        stop_reason = slot.stop_reasons.get(call.stop_reason)
        key = (call.model, call.feature, call.user, call.tier, call.outcome)
        if (stop_reason is None and call.stop_reason) or self.label_sets.slots.get(key) is not slot:
            return None
        return Line(call, slot, stop_reason, card, book)

    def write_plain(
        self,
        line: Line,
        counts: tuple[int, int, int, int, int],
        now: float,
        seconds: float | None,
        whole: float | None,
        *,
        asked: bool,
    ) -> None:
        """Write a plain call that ended at `now`: what `write` does with it and its bill.

        The same additions in the same order, so that the numbers are the same to the last bit.

        Args:
            line: where, and at what prices.
            counts: its tokens.
            now: when it ended, in seconds since the epoch.
            seconds: `duration_seconds` of the call.
            whole: `call_duration_seconds` of the call.
            asked: `cache_asked` of the call.
        """
        before = self.before
        for key, block in line.blocks:
            if key not in before:
                before[key] = (block, self.cells.saved(block))
        slot, stop_reason = line.slot, line.stop_reason
        usd = write_spend(line, counts, asked=asked)
        self._last_record = now
        slot.requests[0] += 1.0
        if stop_reason is not None:
            stop_reason[0] += 1.0
        block = slot.place.block
        if seconds is not None:
            block[DURATION + bisect_left(f.DURATION.buckets, seconds)] += 1.0
            block[DURATION_SUM] += seconds
        if whole is not None:
            block[CALL_DURATION + bisect_left(f.CALL_DURATION.buckets, whole)] += 1.0
            block[CALL_DURATION_SUM] += whole
        output, second = counts[OUTPUT], int(now)
        block[OUTPUT_TOKENS + bisect_left(f.REQUEST_OUTPUT_TOKENS.buckets, output)] += 1.0
        block[OUTPUT_TOKENS_SUM] += output
        slot.place.output_tokens.add(second, output)
        if usd:
            block[COST + bisect_left(f.REQUEST_COST.buckets, usd)] += 1.0
            block[COST_SUM] += usd
            slot.place.cost_usd.add(second, usd)
        self._unsettled += 1
        if self._unsettled >= exact_sum.SETTLE_EVERY:
            self.settle()

    def keep_rate_limits(self, model: str, at: float, headers: RateLimitHeaders | RawHeaders) -> None:
        """Keep the headers of a request that was sent `at`, if they are the newest of a model as it is shown.

        A long stream ends with headers that are as old as its beginning. Headers of a request that is yet to come are
        from before the clock was set back.
        """
        kept = self._rate_limit_headers.get(model)
        if kept is None:
            self.label_sets.budget.take(_RATE_LIMIT_FAMILIES)
        if kept is None or at >= kept[0] or kept[0] > self._last_record:
            self._rate_limit_headers[model] = (at, headers)

    def _stop_reason(self, slot: Slot, stop_reason: str) -> Block:
        block = self.label_sets.counter(f.STOP_REASONS, (slot.place.model, slot.place.feature, stop_reason))
        bound = self.label_sets.bounds["stop_reason"]
        if bound.fold(stop_reason) == stop_reason:  # each record of a folded one is an overflow
            slot.stop_reasons[stop_reason] = block
        return block

    def _write_times(self, call: Call, place: Place) -> None:
        seconds, first, whole = call.duration_seconds, call.time_to_first_token_seconds, call.call_duration_seconds
        block = self._touch(place.block)
        if seconds is not None:
            block[DURATION + bisect_left(f.DURATION.buckets, seconds)] += 1.0
            block[DURATION_SUM] += seconds
        if whole is not None:
            block[CALL_DURATION + bisect_left(f.CALL_DURATION.buckets, whole)] += 1.0
            block[CALL_DURATION_SUM] += whole
        if first is not None:
            block[TTFT + bisect_left(f.TTFT.buckets, first)] += 1.0
            block[TTFT_SUM] += first
            if seconds is not None and seconds > first and call.outcome == SUCCESS:
                speed = self._touch(self.label_sets.speed_block(place.model))
                rate = call.output_tokens / (seconds - first)
                speed[bisect_left(f.TOKENS_PER_SECOND.buckets, rate)] += 1.0
                speed[-1] += rate

    def write_call_duration(self, model: str, feature: str, seconds: float) -> None:
        """Write the duration of a call whose end was found out later."""
        block = self._touch(self.label_sets.place(*self.label_sets.place_of(model, feature)).block)
        block[CALL_DURATION + bisect_left(f.CALL_DURATION.buckets, seconds)] += 1.0
        block[CALL_DURATION_SUM] += seconds

    def _write_spend(self, call: Call, bill: Bill, slot: Slot, second: int) -> None:
        inferences, costs, place = call.inferences, bill.costs, slot.place
        block = self._touch(place.block)
        if len(inferences) == 1 and inferences[0].model == call.model and costs[0] is not None:
            tokens = inferences[0].tokens
            output = tokens.output
            _add(self._touch(slot.spend), tokens, costs[0])
        else:
            output = call.output_tokens
            self._write_inferences(call, bill, slot)
        if call.thinking_tokens:
            block[THINKING] += call.thinking_tokens
        if call.requests:
            block[CACHE_RESULT[bill.cache_result]] += 1.0
            block[OUTPUT_TOKENS + bisect_left(f.REQUEST_OUTPUT_TOKENS.buckets, output)] += 1.0
            block[OUTPUT_TOKENS_SUM] += output
            place.output_tokens.add(second, output)
            usd = bill.total_usd
            if usd:
                block[COST + bisect_left(f.REQUEST_COST.buckets, usd)] += 1.0
                block[COST_SUM] += usd
                place.cost_usd.add(second, usd)
        if call.cache_asked:
            block[MISS_COST] += bill.cache_miss_cost_usd
            block[SAVINGS] += bill.cache_savings_usd
            block[PREMIUM] += bill.cache_write_premium_usd

    def _write_inferences(self, call: Call, bill: Bill, slot: Slot) -> None:
        """Inferences each on its own model, or without a price."""
        sets, feature, user = self.label_sets, slot.place.feature, slot.user
        for inference, cost in zip(call.inferences, bill.costs, strict=True):
            model = slot.place.model if inference.model == call.model else sets.fold("model", inference.model)
            block = sets.spend_block(*sets.admitted(model, feature, user, slot.tier), slot.tier)
            _add(self._touch(block), inference.tokens, cost or _NO_COST)
            if cost is None:
                self.count(f.UNPRICED_TOKENS, (model,), sum(inference.tokens))

    def _write_rare(self, call: Call, slot: Slot) -> None:
        labels = (slot.place.model, slot.place.feature)
        self._touch(slot.place.block)[ESTIMATED] += call.estimated_output_tokens
        if call.retry_reason:
            self.count(f.RETRIES, (*labels, call.retry_reason))
        if call.cache_miss_reason:
            self.count(f.CACHE_MISS_REASONS, (*labels, call.cache_miss_reason))
        for tool, count in call.server_tools:
            self.count(f.SERVER_TOOLS, (*labels, tool), count)

    def _write_doubts(self, call: Call, bill: Bill, slot: Slot) -> None:
        """Dollars that are not of tokens, dollars that the invoice may differ by, and answers without usage."""
        labels = (slot.place.model, slot.place.feature)
        if call.unmetered:
            self.count(f.UNMETERED_RESPONSES, (slot.place.model, call.unmetered))
        for reason, usd in bill.estimates:
            self.count(f.ESTIMATED_COST, (*labels, reason), usd)
        for tool, usd in bill.server_tools:
            if usd:
                block = self._touch(self.label_sets.counter(f.COST, (*labels, slot.user, slot.tier, tool)))
                exact_sum.add(block, 0, 1, usd)

    def prepare_page(self) -> None:
        """Prepare a page: create the counters that exist at 0 from the first scrape on, and settle the dollars."""
        for family in (f.STALE_SCRAPES, f.SINK_DROPPED):
            self.count(family, (), 0.0)
        self.settle()

    def settle(self) -> None:
        """Update the dollars that are shown."""
        self._unsettled = 0
        for block in self.label_sets.spend.values():
            if any(block[USD_SINCE:USD_REST]):
                self.cells.settle(self._touch(block), SUMS)

    def move_to(self, cells: Cells, moved: Mapping[int, Block]) -> None:
        """Write to `cells` from now on; `moved` are its blocks by the `id` of those that they replace."""
        self.cells = cells
        self.label_sets.move_to(cells, moved)

    # -- reading

    def rate_limits_at(self, model: str) -> float:
        """The Unix time of the request whose rate-limit headers are kept for a model; 0 if there are none."""
        return self._rate_limit_headers.get(model, (0.0,))[0]

    def gauges(self) -> dict[str, list[SeriesSample]]:
        """The gauges that are computed at a scrape, by family name."""
        now = self._clock()
        found = {
            f.REQUEST_OUTPUT_TOKENS_MAX.name: [
                _gauge(labels, place.output_tokens.max(now)) for labels, place in self.label_sets.by_place.items()
            ],
            f.REQUEST_COST_MAX.name: [
                _gauge(labels, place.cost_usd.max(now)) for labels, place in self.label_sets.by_place.items()
            ],
            f.LAST_RECORD.name: [_gauge((), self._last_record)],
        }
        if self._rate_limit_headers:
            from anthropic_exporter.wire.rate_limits import rate_limits  # noqa: PLC0415 - with the first of them
        for model, (_, headers) in self._rate_limit_headers.items():
            named = headers if isinstance(headers, Mapping) else heading(headers).rate_limit_headers
            for limit in rate_limits(named):
                for name, value in _rate_limit_gauges(limit):
                    found.setdefault(name, []).append(_gauge((model, limit.resource), value))
        return found


_NO_COST = Cost()


def _add(block: Block, tokens: Tokens, cost: Cost) -> None:
    """Add to a spend block."""
    block[INPUT] += tokens[INPUT]
    block[CACHE_READ] += tokens[CACHE_READ]
    block[CACHE_WRITE_5M] += tokens[CACHE_WRITE_5M]
    block[CACHE_WRITE_1H] += tokens[CACHE_WRITE_1H]
    block[OUTPUT] += tokens[OUTPUT]
    block[INPUT_USD] += cost[INPUT]
    block[CACHE_READ_USD] += cost[CACHE_READ]
    block[CACHE_WRITE_5M_USD] += cost[CACHE_WRITE_5M]
    block[CACHE_WRITE_1H_USD] += cost[CACHE_WRITE_1H]
    block[OUTPUT_USD] += cost[OUTPUT]


def _gauge(labels: tuple[str, ...], value: float) -> SeriesSample:
    return SeriesSample(labels, [float(value)], 0.0)


def _rate_limit_gauges(limit: RateLimit) -> list[tuple[str, float]]:
    parts = (
        (f.RATELIMIT_LIMIT.name, limit.limit),
        (f.RATELIMIT_REMAINING.name, limit.remaining),
        (f.RATELIMIT_RESET.name, limit.reset_timestamp_seconds),
    )
    return [(name, value) for name, value in parts if value is not None]
