"""Writes a priced `Call` into cells. Writes happen under the recorder's lock and allocate only for new label sets.

All labels are bounded here: the first 100 features, 200 users, 50 models and 50 of each of the server's words, and all
label sets together by one budget of series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter.call import (
    NO_USAGE,
    OUTCOMES,
    STOP_REASONS,
    SUCCESS,
    TOKEN_TYPES,
    UNKNOWN_SHAPE,
    UNREADABLE,
    Bill,
    Call,
    Cost,
    Tokens,
)
from anthropic_exporter.metrics import exact_sum
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import OTHER, Bounded
from anthropic_exporter.metrics.cells import Block, Cells, Reading
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.metrics.layout import (
    CACHE_READ,
    CACHE_READ_USD,
    CACHE_RESULT,
    CACHE_RESULTS,
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
    KINDS,
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
from anthropic_exporter.metrics.series_budget import DEFAULT_SERIES, SeriesBudget
from anthropic_exporter.metrics.sliding_max import SlidingMax
from anthropic_exporter.pricing.book import Card, PriceBook
from anthropic_exporter.pricing.price_file import Rates
from anthropic_exporter.wire.headers import RateLimitHeaders, RawHeaders, heading

if TYPE_CHECKING:
    from anthropic_exporter.wire.rate_limits import RateLimit
from anthropic_exporter.wire.usage import CACHE_MISS_REASONS

_LIMITS = {
    "model": 50,
    "feature": 100,
    "user": 200,
    "stop_reason": 50,
    "reason": 50,
    "tool": 50,
    "alertname": 100,
}
#: Documented words never fold, no matter how many others a server sends first.
_RESERVED = {
    "reason": (*OUTCOMES, *sorted(CACHE_MISS_REASONS), NO_USAGE, UNKNOWN_SHAPE, UNREADABLE),
    "stop_reason": STOP_REASONS,
    "tool": ("web_search", "web_fetch", "code_execution", "session_runtime"),
}
#: Outcomes whose first burst must be visible to `rate()`: their series exist at 0 from the first request on.
_EXPECTED_OUTCOMES = (SUCCESS, "rate_limit_error", "overloaded_error")
_PLACE_FAMILIES = (
    *(f.THINKING, f.CACHE_MISS_COST, f.CACHE_SAVINGS, f.CACHE_WRITE_PREMIUM, f.ESTIMATED_TOKENS),
    *(f.CACHE_REQUESTS for _ in CACHE_RESULTS),
    *(f.DURATION, f.CALL_DURATION, f.TTFT, f.REQUEST_OUTPUT_TOKENS, f.REQUEST_COST),
)
#: Computed at each scrape for each (model, feature).
_PLACE_GAUGES = (f.REQUEST_OUTPUT_TOKENS_MAX, f.REQUEST_COST_MAX, f.INFLIGHT, f.OLDEST_INFLIGHT, f.LONGEST_SILENCE)
_SPEND_FAMILIES = tuple(family for family in (f.TOKENS, f.COST) for _ in TOKEN_TYPES)
_USER_FAMILIES = (*_SPEND_FAMILIES, *(f.REQUESTS for _ in _EXPECTED_OUTCOMES))
#: Eight resources have a limit, a remainder and a reset.
_RATE_LIMIT_FAMILIES = (f.RATELIMIT_LIMIT, f.RATELIMIT_REMAINING, f.RATELIMIT_RESET) * 8
_PLACED = ("model", "feature", "user")

#: Blocks as they were before a batch was written, by identity.
Before = dict[int, tuple[Block, Any]]


class Place(NamedTuple):
    """What is kept per (model, feature): the block of its series and the largest responses of the last minute."""

    model: str
    feature: str
    block: Block
    output_tokens: SlidingMax
    cost_usd: SlidingMax


class Slot(NamedTuple):
    """Where a call of certain labels is written, found with one lookup. Its labels are bounded.

    `stop_reasons` are the blocks of those that such calls had.
    """

    place: Place
    user: str
    tier: str
    requests: Block
    spend: Block
    stop_reasons: dict[str, Block]


class Line:
    """Where successful calls of one kind are written, and their prices: everything except their counts and times.

    `like` is one of them; `blocks` are those that each of them changes. `advice` is where advice counts them; None
    until the first.

    Valid for requests from `start` on and before `end`, in seconds since the epoch, and while `book` is in force.
    """

    __slots__ = (
        *("advice", "blocks", "book", "end", "like", "long_above_tokens", "long_rates", "rates", "slot", "start"),
        "stop_reason",
    )

    def __init__(self, like: Call, slot: Slot, stop_reason: Block | None, card: Card, book: PriceBook) -> None:
        self.like, self.slot, self.stop_reason, self.book = like, slot, stop_reason, book
        self.advice: Any = None
        blocks = (slot.requests, slot.place.block, slot.spend)
        self.blocks = blocks if stop_reason is None else (*blocks, stop_reason)
        self.start, self.end, self.rates, self.long_rates, self.long_above_tokens, _ = card

    def rates_of(self, counts: tuple[int, int, int, int, int]) -> Rates:
        """Dollars a token, by type."""
        if self.long_rates is not None and sum(counts[:OUTPUT]) > self.long_above_tokens:
            return self.long_rates
        return self.rates


def label_bounds(features: Iterable[str] | None = None, users: Iterable[str] | None = None) -> dict[str, Bounded]:
    """The bounds of all bounded labels, still empty. `features` and `users` are the only names admitted."""
    bounds = {label: Bounded(limit) for label, limit in _LIMITS.items()}
    for label, words in _RESERVED.items():
        bounds[label] = Bounded(_LIMITS[label] + len(words))
        for word in words:
            bounds[label].fold(word)
    bounds["outcome"] = Bounded(0, OUTCOMES)
    for label, allowed in (("feature", features), ("user", users)):
        if allowed is not None:
            bounds[label] = Bounded(0, allowed)
    return bounds


class Metrics:
    """Writes calls into cells and reads the gauges that are computed at a scrape.

    Args:
        clock: seconds since the epoch.
        features: the only feature names let in; None for the first 100.
        users: the only user names let in; None for the first 200.
        max_series: series of all label sets together; see `SeriesBudget`.
        cells: where to write; plain lists if None.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        features: Iterable[str] | None = None,
        cells: Cells | None = None,
        users: Iterable[str] | None = None,
        max_series: int = DEFAULT_SERIES,
    ) -> None:
        self._budget = SeriesBudget(max_series)
        self.cells = Cells(clock) if cells is None else cells
        self._clock = clock
        self._bounds = label_bounds(features, users)
        self._slots: dict[tuple[str, str, str, str, str], Slot] = {}
        self._spend: dict[tuple[str, str, str, str], Block] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._speed: dict[str, Block] = {}
        self._counters: dict[tuple[str, tuple[str, ...]], Block] = {}
        self._rate_limit_headers: dict[str, tuple[float, RateLimitHeaders | RawHeaders]] = {}
        self._last_record = 0.0
        self._unsettled = 0
        self.before: Before = {}

    # -- label sets

    def expect(self, model: str, feature: str, user: str) -> None:
        """Make the label set exist at 0, so that `rate()` sees its first burst. No record, so no overflow either."""
        model, feature = self._bounds["model"].fold(model), self._bounds["feature"].fold(feature)
        user = self._bounds["user"].fold(user)
        self._open_expected(*self._admitted(model, feature, user, "standard"))

    def _open_expected(self, model: str, feature: str, user: str) -> None:
        self._place(model, feature)
        self._spend_block(model, feature, user, "standard")
        for outcome in _EXPECTED_OUTCOMES:
            labels = (model, feature, user, outcome)
            if (f.REQUESTS.name, labels) not in self._counters:
                self._new_counter(f.REQUESTS, labels)

    def let_in(self, features: Iterable[str], users: Iterable[str] = ()) -> None:
        """Admit these names as well."""
        self._bounds["feature"].let_in(features)
        self._bounds["user"].let_in(users)

    def place_of(self, model: str, feature: str) -> tuple[str, str]:
        """The labels under which a (model, feature) is shown."""
        model, feature = self._bounds["model"].fold(model), self._bounds["feature"].fold(feature)
        if (model, feature) in self._places:
            return model, feature
        return self._with_room("model", model), self._with_room("feature", feature)

    def _admitted(self, model: str, feature: str, user: str, tier: str) -> tuple[str, str, str]:
        """The label set itself where it exists or the budget has room for it; else folded, users first."""
        if (model, feature, user, tier) in self._spend:
            return model, feature, user
        user = self._with_room("user", user)
        if (model, feature) not in self._places:
            feature, model = self._with_room("feature", feature), self._with_room("model", model)
        return model, feature, user

    def _with_room(self, label: str, value: str) -> str:
        return value if value in ("", OTHER) or self._budget.has_room(label) else OTHER

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every (model, feature) seen."""
        return list(self._places)

    @property
    def models(self) -> list[str]:
        """Every admitted model label."""
        return self._bounds["model"].names

    def _fold(self, label: str, value: str) -> str:
        folded = self._bounds[label].fold(value)
        if folded != value:
            self.count(f.LABEL_OVERFLOW, (label,))
        return folded

    def _open(self, call: Call, key: tuple[str, str, str, str, str]) -> Slot:
        """Make the slot of a call. One whose labels were folded is not kept: each of its records is an overflow."""
        asked, tier, outcome = key[:3], key[3], key[4]
        bounded = [self._bounds[label].fold(value) for label, value in zip(_PLACED, asked, strict=True)]
        model, feature, user = labels = self._admitted(bounded[0], bounded[1], bounded[2], tier)
        for label, value, folded in zip(_PLACED, asked, labels, strict=True):
            if folded != value:
                self.count(f.LABEL_OVERFLOW, (label,))
        if call.requests:
            self._open_expected(model, feature, user)
            requests = self._counter(f.REQUESTS, (model, feature, user, outcome))
        else:
            requests = [0.0]
        place, spend = self._place(model, feature), self._spend_block(model, feature, user, tier)
        slot = Slot(place, user, tier, requests, spend, {})
        if call.requests and labels == asked and (f.REQUESTS.name, (*labels, outcome)) in self._counters:
            self._slots[key] = slot
        return slot

    def _place(self, model: str, feature: str) -> Place:
        labels = (model, feature)
        place = self._places.get(labels)
        if place is None:
            results = iter(CACHE_RESULTS)
            series = [
                (family, (*labels, next(results)) if family is f.CACHE_REQUESTS else labels)
                for family in _PLACE_FAMILIES
            ]
            self._budget.take((*_PLACE_FAMILIES, *_PLACE_GAUGES, *_USER_FAMILIES))  # the last for its user `other`
            place = self._places[labels] = Place(*labels, self.cells.block(series), SlidingMax(), SlidingMax())
        return place

    def _spend_block(self, *key: str) -> Block:
        model, feature, user, tier = key
        block = self._spend.get((model, feature, user, tier))
        if block is None:
            series = [(family, (*key, kind)) for family in (f.TOKENS, f.COST) for kind in TOKEN_TYPES]
            if (user, tier) != (OTHER, "standard") or (model, feature) not in self._places:  # else counted with it
                self._budget.take(_SPEND_FAMILIES)
            block = self._spend[model, feature, user, tier] = self.cells.block(series, 2 * KINDS, SUMS)
        return block

    def _speed_block(self, model: str) -> Block:
        block = self._speed.get(model)
        if block is None:
            self._budget.take((f.TOKENS_PER_SECOND,))
            block = self._speed[model] = self.cells.block([(f.TOKENS_PER_SECOND, (model,))])
        return block

    def _counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        block = self._counters.get((family.name, labels))
        return block if block is not None else self._open_counter(family, labels)

    def _open_counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        """Make a counter. Words that a server chose, such as a stop reason, are bounded here, off the hot path."""
        word = family.labels[-1] if family.labels else ""
        if word in ("outcome", "stop_reason", "reason", "tool") and family is not f.REMEDY_ACTIONS:
            folded = self._fold(word, labels[-1])
            if folded != labels[-1]:
                return self._counter(family, (*labels[:-1], folded))
        named = zip(family.labels, labels, strict=True)
        admitted = tuple(self._with_room(name, value) if name in _PLACED else value for name, value in named)
        if admitted != labels:
            for name in (name for name, old, new in zip(family.labels, labels, admitted, strict=True) if old != new):
                self.count(f.LABEL_OVERFLOW, (name,))
            return self._counter(family, admitted)
        return self._new_counter(family, labels)

    def _new_counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        spare = 1 if family is f.COST else 0  # what was rounded off
        self._budget.take((family,))
        block = self._counters[family.name, labels] = self.cells.block([(family, labels)], spare)
        return block

    # -- writing

    def start_batch(self, before: Before) -> None:
        """Keep in `before` how each block is before it is written to, until the next batch starts."""
        self.before = before

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

    def count(self, family: Family, labels: tuple[str, ...], value: float = 1.0) -> None:
        """Add to a counter with few label sets."""
        self._touch(self._counter(family, labels))[0] += value

    def set(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge with few label sets."""
        self._touch(self._counter(family, labels))[0] = value

    def observe(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Add to a histogram of which there are few. The last label may come from outside: it is bounded here."""
        if family.labels and family.labels[-1] in self._bounds:
            labels = (*labels[:-1], self._fold(family.labels[-1], labels[-1]))
        block = self._touch(self._counter(family, labels))
        block[bisect_left(family.buckets, value)] += 1.0
        block[-1] += value

    def begin(self, family: Family, labels: tuple[str, ...]) -> None:
        """Make a series exist at 0, so that `rate()` sees its first growth."""
        self._counter(family, labels)

    def count_event(self, family: Family, labels: tuple[str, ...]) -> None:
        """Add one to a counter whose label values come from outside: they are bounded here."""
        if family is not f.REMEDY_ACTIONS:  # its outcomes are our own words, not a server's
            named = zip(family.labels, labels, strict=True)
            labels = tuple(self._fold(name, value) if name in self._bounds else value for name, value in named)
        self.count(family, labels)

    def write(self, call: Call, bill: Bill, now: float | None = None) -> Slot:
        """Write one call that ended at `now`, and its bill. Returns where it was written; that names its labels."""
        now = self._clock() if now is None else now
        self._last_record = now
        key = (call.model, call.feature, call.user, call.tier, call.outcome)
        slot = self._slots.get(key) or self._open(call, key)
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
        if (stop_reason is None and call.stop_reason) or self._slots.get(key) is not slot:
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
        for block in line.blocks:
            if id(block) not in self.before:
                self.before[id(block)] = (block, self.cells.saved(block))
        slot, stop_reason = line.slot, line.stop_reason
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
        usd = _spend(line, counts, asked=asked)
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

        A long stream ends with headers that are as old as its beginning.
        """
        kept = self._rate_limit_headers.get(model)
        if kept is None:
            self._budget.take(_RATE_LIMIT_FAMILIES)
        if kept is None or at >= kept[0]:
            self._rate_limit_headers[model] = (at, headers)

    def _stop_reason(self, slot: Slot, stop_reason: str) -> Block:
        block = self._counter(f.STOP_REASONS, (slot.place.model, slot.place.feature, stop_reason))
        if self._bounds["stop_reason"].fold(stop_reason) == stop_reason:  # each record of a folded one is an overflow
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
                speed, rate = self._touch(self._speed_block(place.model)), call.output_tokens / (seconds - first)
                speed[bisect_left(f.TOKENS_PER_SECOND.buckets, rate)] += 1.0
                speed[-1] += rate

    def write_call_duration(self, model: str, feature: str, seconds: float) -> None:
        """Write the duration of a call whose end became known later."""
        block = self._touch(self._place(*self.place_of(model, feature)).block)
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
        for inference, cost in zip(call.inferences, bill.costs, strict=True):
            feature, user = slot.place.feature, slot.user
            model = slot.place.model if inference.model == call.model else self._fold("model", inference.model)
            block = self._spend_block(*self._admitted(model, feature, user, slot.tier), slot.tier)
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
                block = self._touch(self._counter(f.COST, (*labels, slot.user, slot.tier, tool)))
                exact_sum.add(block, 0, 1, usd)

    def prepare_page(self) -> None:
        """Prepare a page: create the counters that exist at 0 from the first scrape on, and settle the dollars."""
        for family in (f.STALE_SCRAPES, f.SINK_DROPPED):
            self.count(family, (), 0.0)
        self.settle()

    def settle(self) -> None:
        """Update the dollars that are shown."""
        self._unsettled = 0
        for block in self._spend.values():
            if any(block[USD_SINCE:USD_REST]):
                self.cells.settle(self._touch(block), SUMS)

    def move_to(self, cells: Cells, moved: Mapping[int, Block]) -> None:
        """Write to `cells` from now on; `moved` are its blocks by the `id` of those that they replace."""
        self.cells = cells
        self._slots.clear()  # each is made again from what follows
        self._spend = {key: moved[id(block)] for key, block in self._spend.items()}
        self._speed = {key: moved[id(block)] for key, block in self._speed.items()}
        self._counters = {key: moved[id(block)] for key, block in self._counters.items()}
        self._places = {key: place._replace(block=moved[id(place.block)]) for key, place in self._places.items()}

    # -- reading

    def rate_limits_at(self, model: str) -> float:
        """The Unix time of the request whose rate-limit headers are kept for a model; 0 if there are none."""
        return self._rate_limit_headers.get(model, (0.0,))[0]

    def gauges(self) -> dict[str, list[Reading]]:
        """The gauges that are computed at a scrape, by family name."""
        now = self._clock()
        found = {
            f.REQUEST_OUTPUT_TOKENS_MAX.name: [
                _gauge(labels, place.output_tokens.max(now)) for labels, place in self._places.items()
            ],
            f.REQUEST_COST_MAX.name: [
                _gauge(labels, place.cost_usd.max(now)) for labels, place in self._places.items()
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


def _spend(line: Line, counts: tuple[int, int, int, int, int], *, asked: bool) -> float:
    """Write the tokens and dollars of a plain call, and what the cache did for it. Returns its dollars."""
    fresh, read, short, long, output = counts
    fresh_rate, read_rate, short_rate, long_rate, output_rate = (
        line.rates if line.long_rates is None else line.rates_of(counts)
    )
    spend, block = line.slot.spend, line.slot.place.block
    fresh_usd, output_usd = fresh * fresh_rate, output * output_rate
    spend[INPUT] += fresh
    spend[OUTPUT] += output
    spend[INPUT_USD] += fresh_usd
    spend[OUTPUT_USD] += output_usd
    if not (read or short or long):
        block[CACHE_RESULT["ineligible" if asked else "unasked"]] += 1.0
        return fresh_usd + output_usd
    read_usd, short_usd, long_usd = read * read_rate, short * short_rate, long * long_rate
    spend[CACHE_READ] += read
    spend[CACHE_WRITE_5M] += short
    spend[CACHE_WRITE_1H] += long
    spend[CACHE_READ_USD] += read_usd
    spend[CACHE_WRITE_5M_USD] += short_usd
    spend[CACHE_WRITE_1H_USD] += long_usd
    block[CACHE_RESULT[("hit" if read else "miss") if asked else "unasked"]] += 1.0
    if asked:
        if not read:
            paid = fresh_usd + read_usd + short_usd + long_usd
            block[MISS_COST] += max(0.0, paid - (fresh + read + short + long) * read_rate)
        block[SAVINGS] += read * (fresh_rate - read_rate)
        block[PREMIUM] += short * (short_rate - fresh_rate) + long * (long_rate - fresh_rate)
    return fresh_usd + read_usd + short_usd + long_usd + output_usd


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


def _gauge(labels: tuple[str, ...], value: float) -> Reading:
    return Reading(labels, [float(value)], 0.0)


def _rate_limit_gauges(limit: RateLimit) -> list[tuple[str, float]]:
    parts = (
        (f.RATELIMIT_LIMIT.name, limit.limit),
        (f.RATELIMIT_REMAINING.name, limit.remaining),
        (f.RATELIMIT_RESET.name, limit.reset_timestamp_seconds),
    )
    return [(name, value) for name, value in parts if value is not None]
