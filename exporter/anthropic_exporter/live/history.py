"""What the calls of the last 15 minutes used and cost: in total, by feature and by user. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from anthropic_exporter.call import NO_FAILURE, TOKEN_TYPES, Call
from anthropic_exporter.live.marks import MINUTE_SECONDS, STEP_SECONDS, RecentTotals
from anthropic_exporter.metrics.quantiles import quantile

# Fields of the totals: dollars by type and of server tools, tokens by type, then what is counted once a request.
USD, TOOLS, TOKENS = 0, 5, 6
REQUESTS, FAILED, BLOCKED, HITS, MISSES, MISS_USD, UNPRICED = range(11, 18)
DURATION = 18
#: Upper bounds of the latency buckets, in seconds: each 20 % above the one before, so that percentiles are that close.
BOUNDS = tuple(round(0.05 * 1.2**power, 4) for power in range(53))
TTFT = DURATION + len(BOUNDS) + 1
_WIDTH = TTFT + len(BOUNDS) + 1

# Fields of a feature or a user.
NAME_USD, NAME_REQUESTS, NAME_TOKENS, NAME_HITS, NAME_MISSES = range(5)


class Step(NamedTuple):
    """What was added in one closed step; percentiles cover the minute that it ends. Dollars, tokens, seconds."""

    number: int
    counts: list[float]
    latency: list[float | None]
    feature_usd: dict[str, float]


class Spender(NamedTuple):
    """One feature or one user: dollars, and since when."""

    name: str
    minute_usd: float
    quarter_usd: float
    total_usd: float
    quarter_requests: int
    quarter_tokens: int
    hit_ratio: float | None


class History:
    """Adds up calls; memory grows with the number of features and users only, which the recorder bounds.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.total = RecentTotals(_WIDTH, now)
        self.features: dict[str, RecentTotals] = {}
        self.users: dict[str, RecentTotals] = {}

    def add(self, call: Call, now: float) -> None:
        """Add one priced call."""
        total = self.total
        total.advance(now)
        _add_request(call, total.totals)
        usd, tokens = _add_spend(call, total.totals)
        for counts in (counts_of(self.features, call.feature, now), counts_of(self.users, call.user, now)):
            totals = counts.totals
            totals[NAME_USD] += usd
            totals[NAME_REQUESTS] += call.requests
            totals[NAME_TOKENS] += tokens
            if call.requests and call.bill is not None:
                _add_cache(call.bill.cache_result, totals, NAME_HITS, NAME_MISSES)

    def advance(self, now: float) -> None:
        """Let time pass without a call."""
        for counts in (self.total, *self.features.values(), *self.users.values()):
            counts.advance(now)

    def step(self, number: int) -> Step:
        """A closed step of the last 15 minutes. All counts were advanced."""
        spent = {name: counts.step_of(NAME_USD, number) for name, counts in self.features.items()}
        minute = self.total.step(number, MINUTE_SECONDS // STEP_SECONDS)
        return Step(
            number,
            self.total.step(number)[:DURATION],
            percentiles(minute),
            {name: usd for name, usd in spent.items() if usd},
        )


def top(names: dict[str, RecentTotals], most: int) -> list[Spender]:
    """The features or users that spent most in 15 minutes; ties are broken by spend since the start."""
    ranked = sorted(
        names, key=lambda name: (names[name].quarter_of(NAME_USD), names[name].totals[NAME_USD]), reverse=True
    )
    return [_row(name, names[name]) for name in ranked[:most]]


def percentiles(counts: Sequence[float]) -> list[float | None]:
    """Latency p50 and p95, time to first token p50 and p95, in seconds; None if nothing was measured."""
    parts = counts[DURATION:TTFT], counts[TTFT:]
    return [quantile(rank, part, BOUNDS) if sum(part) else None for part in parts for rank in (0.5, 0.95)]


def ratio(hits: float, misses: float) -> float | None:
    """Share of hits among the requests that asked for caching and were long enough; None if there were none."""
    return hits / (hits + misses) if hits + misses else None


def _row(name: str, counts: RecentTotals) -> Spender:
    quarter = counts.quarter()
    return Spender(
        name,
        counts.minute()[NAME_USD],
        quarter[NAME_USD],
        counts.totals[NAME_USD],
        round(quarter[NAME_REQUESTS]),
        round(quarter[NAME_TOKENS]),
        ratio(quarter[NAME_HITS], quarter[NAME_MISSES]),
    )


def counts_of(known: dict[str, RecentTotals], name: str, now: float) -> RecentTotals:
    """The counts of a feature or a user, moved on to `now`."""
    counts = known.get(name)
    if counts is None:
        counts = known[name] = RecentTotals(5, now)
    counts.advance(now)
    return counts


def _add_request(call: Call, totals: list[float]) -> None:
    totals[REQUESTS] += call.requests
    if call.outcome not in NO_FAILURE:
        totals[FAILED] += call.requests
    elif call.outcome == "blocked":
        totals[BLOCKED] += call.requests
    if call.duration_seconds is not None:
        totals[DURATION + bisect_left(BOUNDS, call.duration_seconds)] += 1.0
    if call.time_to_first_token_seconds is not None:
        totals[TTFT + bisect_left(BOUNDS, call.time_to_first_token_seconds)] += 1.0


def _add_spend(call: Call, totals: list[float]) -> tuple[float, int]:
    """Add dollars and tokens; returns how many of each."""
    bill, all_tokens = call.bill, 0
    if bill is None:
        return 0.0, 0
    for inference, cost in zip(call.inferences, bill.costs, strict=True):
        all_tokens += sum(inference.tokens)
        _add(inference.tokens, totals, TOKENS)
        if cost is None:
            totals[UNPRICED] += sum(inference.tokens)
        else:
            _add(cost, totals, USD)
    for _, usd in bill.server_tools:
        totals[TOOLS] += usd
    if call.requests:
        _add_cache(bill.cache_result, totals, HITS, MISSES)
    totals[MISS_USD] += bill.cache_miss_cost_usd
    return bill.total_usd, all_tokens


def _add(values: Iterable[float], totals: list[float], first: int) -> None:
    for field, value in enumerate(values, first):
        totals[field] += value


def _add_cache(result: str, totals: list[float], hits: int, misses: int) -> None:
    if result == "hit":
        totals[hits] += 1.0
    elif result == "miss":
        totals[misses] += 1.0


assert TOKENS + len(TOKEN_TYPES) == REQUESTS  # noqa: S101 - the layout above
