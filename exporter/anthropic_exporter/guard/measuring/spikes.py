"""What is more than usual: a feature's dollars, tokens and answers against its own baseline, as the rules ask for them.

Pure, as `conditions` is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.guard.anomalies import COST_SPIKE, LONG_ANSWERS, TOKEN_SPIKE, Measure
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.levels import HALF, Sums, added, nearest
from anthropic_exporter.guard.measuring.windows import FAST_SECONDS, REQUEST_SECONDS, SLOW_SECONDS
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.quantiles import quantile

_P80 = 0.8
#: The part of `spike_min_requests` that comes by chance above the usual number of requests.
CHANCE = 0.25
#: None in any bucket of their length.
NO_ANSWERS = [0.0] * (len(f.REQUEST_OUTPUT_TOKENS.buckets) + 1)


class Usual(NamedTuple):
    """What a feature usually does: dollars, tokens and requests a minute, and the length of its answers.

    Of the length, in tokens, what nineteen answers in twenty stay below. Nothing exceeds what nobody knows: infinity.
    """

    cost_usd: float = math.inf
    tokens: float = math.inf
    requests: float = math.inf
    answer_tokens: float = math.inf


class _Pace(NamedTuple):
    """Dollars, tokens and requests of a feature within a window of so many seconds, and how many minutes that is."""

    seconds: int
    minutes: float
    cost_usd: float
    tokens: float
    requests: float


def of_feature(feature: str, places: Sequence[Sums], usual: Usual, limits: Limits) -> Iterator[Measure]:
    """What a feature spends now against what it usually does, and how long its answers are."""
    least = max(1.0, limits.of("spike_min_requests"))
    fast = _pace(places, FAST_SECONDS)
    pace = fast if fast.requests >= least else _pace(places, SLOW_SECONDS)
    tokens = list(_long_answers(feature, places, fast, usual, limits))
    if pace.requests >= least:
        share = _beyond_chance(pace, usual, limits)
        yield _cost_spike(feature, places, pace, usual.cost_usd / share, limits)
        tokens.append(_token_spike(feature, pace, usual.tokens / share, limits))
    yield from nearest(tokens)


def _pace(places: Sequence[Sums], seconds: int) -> _Pace:
    values = added(one.fast if seconds == FAST_SECONDS else one.slow for one in places)
    minutes = w.window_minutes(places[0].now)[seconds]
    return _Pace(seconds, minutes, values[w.COST], values[w.PROMPT] + values[w.OUTPUT], values[w.REQUESTS])


def _beyond_chance(pace: _Pace, usual: Usual, limits: Limits) -> float:
    """The share of the requests that did not come by chance, of which there is none below the usual number."""
    certain = pace.requests - CHANCE * limits.of("spike_min_requests")
    return min(1.0, max(certain, usual.requests * pace.minutes) / pace.requests)


def _cost_spike(feature: str, places: Sequence[Sums], pace: _Pace, usual: float, limits: Limits) -> Measure:
    """The largest single request is left out: one giant is no spike, and has an alert of its own."""
    threshold = max(usual * limits.of("cost_spike_ratio", feature), limits.of("cost_spike_min_usd_per_minute"))
    cost = pace.cost_usd / pace.minutes
    if cost > threshold * 0.5:
        largest = max(one.place.largest_usd(max(REQUEST_SECONDS, pace.seconds), one.second) for one in places)
        cost -= largest / pace.minutes
    return Measure(COST_SPIKE, "feature", feature, "", cost, threshold)


def _token_spike(feature: str, pace: _Pace, usual: float, limits: Limits) -> Measure:
    threshold = max(usual * limits.of("token_spike_ratio", feature), limits.of("token_spike_min_tokens_per_minute"))
    return Measure(TOKEN_SPIKE, "feature", feature, "", pace.tokens / pace.minutes, threshold)


def _long_answers(feature: str, places: Sequence[Sums], fast: _Pace, usual: Usual, limits: Limits) -> Iterator[Measure]:
    """One answer in five of 30 s, of half as many as a pace asks for: known before enough have ended to be a pace."""
    least = HALF * max(1.0, limits.of("spike_min_requests"))
    if fast.requests < least or fast.tokens / fast.minutes <= limits.of("token_spike_min_tokens_per_minute"):
        return
    answers = added(one.spread(FAST_SECONDS, 1).answers or NO_ANSWERS for one in places)
    if sum(answers) >= least:
        longer = quantile(_P80, answers, f.REQUEST_OUTPUT_TOKENS.buckets)
        threshold = usual.answer_tokens * limits.of("token_spike_ratio", feature)
        yield Measure(LONG_ANSWERS, "feature", feature, "", longer, threshold)
