"""A priced `Call` into cells. Every write happens under the recorder's lock and allocates only for a new label set."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from . import families as f
from .call import SUCCESS, TOKEN_TYPES, Call, Cost, Inference
from .cells import Block, Cells, Reading, width
from .families import Family
from .labels import Bounded
from .reading import RateLimit, rate_limits
from .sliding import SlidingMax

_MAX_WORDS = 50
_CACHE_RESULTS = ("hit", "miss", "ineligible", "unasked")
#: Outcomes whose first burst must be visible to `rate()`: their series exist at 0 from the first request on.
_EXPECTED_OUTCOMES = (SUCCESS, "rate_limit_error", "overloaded_error")

# Layout of the block of a (model, feature): counters first, then the histograms.
_THINKING, _MISS_COST, _SAVINGS, _PREMIUM, _ESTIMATED = range(5)
_CACHE_RESULT = {result: 5 + index for index, result in enumerate(_CACHE_RESULTS)}
_DURATION = 5 + len(_CACHE_RESULTS)
_TTFT = _DURATION + width(f.DURATION)
_OUTPUT_TOKENS = _TTFT + width(f.TTFT)
_COST = _OUTPUT_TOKENS + width(f.REQUEST_OUTPUT_TOKENS)

_SPEND_WIDTH = len(TOKEN_TYPES)


class Where(NamedTuple):
    """What is kept per (model, feature): the block of its series and the largest responses of the last minute."""

    block: Block
    output_tokens: SlidingMax
    cost_usd: SlidingMax


class Metrics:
    """Writes calls into cells and reads the gauges that are computed at a scrape.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.cells = Cells(clock)
        self._clock = clock
        self._spend: dict[tuple[str, str, str, str], Block] = {}
        self._where: dict[tuple[str, str], Where] = {}
        self._speed: dict[str, Block] = {}
        self._counters: dict[tuple[str, tuple[str, ...]], Block] = {}
        self._known: set[tuple[str, str, str]] = set()
        self._words = {label: Bounded(_MAX_WORDS) for label in ("outcome", "stop_reason", "reason", "tool")}
        self._rate_limit_headers: dict[str, tuple[tuple[str, str], ...]] = {}
        self._last_record = 0.0

    def expect(self, model: str, feature: str, user: str) -> None:
        """Make the label set exist at 0, so that `rate()` sees its first burst."""
        if (model, feature, user) in self._known:
            return
        self._known.add((model, feature, user))
        self._spend_block(model, feature, user, "standard")
        self._where_of(model, feature)
        for outcome in _EXPECTED_OUTCOMES:
            self._counter(f.REQUESTS, (model, feature, user, outcome))

    def count(self, family: Family, labels: tuple[str, ...], value: float = 1.0) -> None:
        """Add to a counter of which there are few."""
        self._counter(family, labels)[0] += value

    def write(self, call: Call) -> None:
        """Write one priced call."""
        self._last_record = now = self._clock()
        where = self._where_of(call.model, call.feature)
        if call.requests:
            self.expect(call.model, call.feature, call.user)
            self._counter(f.REQUESTS, (call.model, call.feature, call.user, call.outcome))[0] += 1.0
            self._write_times(call, where.block)
        if call.inferences:
            self._write_spend(call, where, now)
        self._write_rare(call)

    def _write_spend(self, call: Call, where: Where, now: float) -> None:
        bill = call.bill
        assert bill is not None  # noqa: S101 - the recorder prices before it writes
        output = 0
        for inference, cost in zip(call.inferences, bill.costs, strict=True):
            block = self._spend_block(inference.model, call.feature, call.user, call.tier)
            _add_tokens(block, inference)
            output += inference.tokens[4]
            if cost is None:
                self.count(f.UNPRICED_TOKENS, (inference.model,), sum(inference.tokens))
            else:
                _add_cost(block, cost)
        block = where.block
        block[_THINKING] += call.thinking_tokens
        if call.requests:
            block[_CACHE_RESULT[bill.cache_result]] += 1.0
            _observe(block, _OUTPUT_TOKENS, f.REQUEST_OUTPUT_TOKENS, output)
            where.output_tokens.add(now, output)
        if bill.total_usd and call.requests:
            _observe(block, _COST, f.REQUEST_COST, bill.total_usd)
            where.cost_usd.add(now, bill.total_usd)
        if call.cache_asked:
            block[_MISS_COST] += bill.cache_miss_cost_usd
            block[_SAVINGS] += bill.cache_savings_usd
            block[_PREMIUM] += bill.cache_write_premium_usd

    def _write_times(self, call: Call, block: Block) -> None:
        duration, first = call.duration_seconds, call.time_to_first_token_seconds
        if duration is not None:
            _observe(block, _DURATION, f.DURATION, duration)
        if first is not None:
            _observe(block, _TTFT, f.TTFT, first)
            if duration is not None and duration > first and call.outcome == SUCCESS:
                speed = self._speed.get(call.model) or self._open_speed(call.model)
                _observe(speed, 0, f.TOKENS_PER_SECOND, call.output_tokens / (duration - first))

    def _write_rare(self, call: Call) -> None:
        labels = (call.model, call.feature)
        if call.stop_reason:
            self.count(f.STOP_REASONS, (*labels, call.stop_reason))
        if call.retry_reason:
            self.count(f.RETRIES, (*labels, call.retry_reason))
        if call.cache_miss_reason:
            self.count(f.CACHE_MISS_REASONS, (*labels, call.cache_miss_reason))
        if call.estimated_output_tokens:
            self._where_of(*labels).block[_ESTIMATED] += call.estimated_output_tokens
        if call.server_tools:
            self._write_server_tools(call)
        if call.rate_limit_headers:
            self._rate_limit_headers[call.model] = call.rate_limit_headers

    def _write_server_tools(self, call: Call) -> None:
        for tool, count in call.server_tools:
            self.count(f.SERVER_TOOLS, (call.model, call.feature, tool), count)
        for tool, usd in call.bill.server_tools if call.bill else ():
            if usd:
                self.count(f.COST, (call.model, call.feature, call.user, call.tier, tool), usd)

    def gauges(self) -> dict[str, list[Reading]]:
        """The gauges that are computed at a scrape, by family name."""
        now = self._clock()
        found = {
            f.REQUEST_OUTPUT_TOKENS_MAX.name: [_gauge(k, w.output_tokens.max(now)) for k, w in self._where.items()],
            f.REQUEST_COST_MAX.name: [_gauge(k, w.cost_usd.max(now)) for k, w in self._where.items()],
            f.LAST_RECORD.name: [_gauge((), self._last_record)],
        }
        for model, headers in self._rate_limit_headers.items():
            for limit in rate_limits(headers):
                for name, value in _rate_limit_gauges(limit):
                    found.setdefault(name, []).append(_gauge((model, limit.resource), value))
        return found

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every (model, feature) seen."""
        return list(self._where)

    def _counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        block = self._counters.get((family.name, labels))
        return block if block is not None else self._open_counter(family, labels)

    def _open_counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        """Make a counter. Words that a server chose, such as a stop reason, are bounded here, off the hot path."""
        words = self._words.get(family.labels[-1])
        folded = words.fold(labels[-1]) if words else labels[-1]
        if folded != labels[-1]:
            self.count(f.LABEL_OVERFLOW, (family.labels[-1],))
            return self._counter(family, (*labels[:-1], folded))
        block = self._counters[family.name, labels] = self.cells.block([(family, labels)])
        return block

    def _spend_block(self, model: str, feature: str, user: str, tier: str) -> Block:
        key = (model, feature, user, tier)
        block = self._spend.get(key)
        if block is None:
            series = [(family, (*key, kind)) for family in (f.TOKENS, f.COST) for kind in TOKEN_TYPES]
            block = self._spend[key] = self.cells.block(series)
        return block

    def _where_of(self, model: str, feature: str) -> Where:
        labels = (model, feature)
        where = self._where.get(labels)
        if where is None:
            counters = (f.THINKING, f.CACHE_MISS_COST, f.CACHE_SAVINGS, f.CACHE_WRITE_PREMIUM, f.ESTIMATED_TOKENS)
            results = [(f.CACHE_REQUESTS, (*labels, result)) for result in _CACHE_RESULTS]
            histograms = (f.DURATION, f.TTFT, f.REQUEST_OUTPUT_TOKENS, f.REQUEST_COST)
            series = [*((c, labels) for c in counters), *results, *((h, labels) for h in histograms)]
            where = self._where[labels] = Where(self.cells.block(series), SlidingMax(), SlidingMax())
        return where

    def _open_speed(self, model: str) -> Block:
        block = self._speed[model] = self.cells.block([(f.TOKENS_PER_SECOND, (model,))])
        return block


def _add_tokens(block: Block, inference: Inference) -> None:
    tokens = inference.tokens
    block[0] += tokens[0]
    block[1] += tokens[1]
    block[2] += tokens[2]
    block[3] += tokens[3]
    block[4] += tokens[4]


def _add_cost(block: Block, cost: Cost) -> None:
    block[_SPEND_WIDTH] += cost[0]
    block[_SPEND_WIDTH + 1] += cost[1]
    block[_SPEND_WIDTH + 2] += cost[2]
    block[_SPEND_WIDTH + 3] += cost[3]
    block[_SPEND_WIDTH + 4] += cost[4]


def _observe(block: Block, offset: int, family: Family, value: float) -> None:
    block[offset + bisect_left(family.buckets, value)] += 1.0
    block[offset + len(family.buckets) + 1] += value


def _gauge(labels: tuple[str, ...], value: float) -> Reading:
    return Reading(labels, [float(value)], 0.0)


def _rate_limit_gauges(limit: RateLimit) -> list[tuple[str, float]]:
    parts = (
        (f.RATELIMIT_LIMIT.name, limit.limit),
        (f.RATELIMIT_REMAINING.name, limit.remaining),
        (f.RATELIMIT_RESET.name, limit.reset_timestamp_seconds),
    )
    return [(name, value) for name, value in parts if value is not None]
