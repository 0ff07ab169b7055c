"""Measures spikes: a feature's dollars, tokens and answers against its own baseline, as in the rules. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.guard.anomalies import COST_SPIKE, LONG_ANSWERS, TOKEN_SPIKE, Measure
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.levels import FAST_SHARE, Sums, added, nearest
from anthropic_exporter.guard.measuring.windows import FAST_SECONDS, REQUEST_SECONDS, SLOW_SECONDS
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.quantiles import quantile

_NUMBERS = detection_numbers()
#: Standard deviations of a number of requests that may be chance and do not count.
CHANCE = _NUMBERS.chance_deviations
#: No answers in any bucket.
NO_ANSWERS = [0.0] * (len(f.REQUEST_OUTPUT_TOKENS.buckets) + 1)


class Usual(NamedTuple):
    """The baseline of a feature: dollars, tokens and requests a minute; `answer_tokens` exceeds nineteen answers in 20.

    Unknown baselines are infinite, so that nothing exceeds them.
    """

    cost_usd: float = math.inf
    tokens: float = math.inf
    requests: float = math.inf
    answer_tokens: float = math.inf


class _Pace(NamedTuple):
    """Dollars, tokens and requests of a feature within a window of `seconds`, which covers `minutes`."""

    seconds: int
    minutes: float
    cost_usd: float
    tokens: float
    requests: float


def of_feature(feature: str, places: Sequence[Sums], usual: Usual, limits: Limits) -> Iterator[Measure]:
    """Spikes of dollars and tokens, and of the length of answers."""
    least = max(1.0, limits.of("spike_min_requests"))
    fast = _pace(places, FAST_SECONDS)
    pace = fast if fast.requests >= least else _pace(places, SLOW_SECONDS)
    tokens = list(_long_answers(feature, places, fast, usual, limits))
    if pace.requests >= least:
        share = _beyond_chance(pace, usual)
        yield _cost_spike(feature, places, pace, usual.cost_usd / share, limits)
        tokens.append(_token_spike(feature, pace, usual.tokens / share, limits))
    yield from nearest(tokens)


def _pace(places: Sequence[Sums], seconds: int) -> _Pace:
    values = added(one.fast if seconds == FAST_SECONDS else one.slow for one in places)
    minutes = w.window_minutes(places[0].now)[seconds]
    return _Pace(seconds, minutes, values[w.COST], values[w.PROMPT] + values[w.OUTPUT], values[w.REQUESTS])


def _beyond_chance(pace: _Pace, usual: Usual) -> float:
    """The share of the requests that count: some of those above the usual number may be chance."""
    certain = pace.requests - CHANCE * math.sqrt(pace.requests)
    return min(1.0, max(certain, usual.requests * pace.minutes) / pace.requests)


def _cost_spike(feature: str, places: Sequence[Sums], pace: _Pace, usual: float, limits: Limits) -> Measure:
    """Ignores the largest single request: it is not a spike, and has its own alert."""
    threshold = max(usual * limits.of("cost_spike_ratio", feature), limits.of("cost_spike_min_usd_per_minute"))
    cost = pace.cost_usd / pace.minutes
    if cost > threshold * 0.5:  # otherwise it cannot exceed it, and there is no need to find the largest
        largest = max(one.place.largest_usd(max(REQUEST_SECONDS, pace.seconds), one.second) for one in places)
        cost -= largest / pace.minutes
    return Measure(COST_SPIKE, "feature", feature, "", cost, threshold)


def _token_spike(feature: str, pace: _Pace, usual: float, limits: Limits) -> Measure:
    threshold = max(usual * limits.of("token_spike_ratio", feature), limits.of("token_spike_min_tokens_per_minute"))
    return Measure(TOKEN_SPIKE, "feature", feature, "", pace.tokens / pace.minutes, threshold)


def _long_answers(feature: str, places: Sequence[Sums], fast: _Pace, usual: Usual, limits: Limits) -> Iterator[Measure]:
    """One answer in five within 30 s, even if some short ones are added; needs half as many answers as a pace does."""
    least = FAST_SHARE * max(1.0, limits.of("spike_min_requests"))
    if fast.requests < least or fast.tokens / fast.minutes <= limits.of("token_spike_min_tokens_per_minute"):
        return
    answers = added(one.spread(FAST_SECONDS, 1).answers or NO_ANSWERS for one in places)
    if sum(answers) >= least:
        answers[0] += _NUMBERS.short_answers_share * limits.of("spike_min_requests")
        longer = quantile(_NUMBERS.long_answers_quantile, answers, f.REQUEST_OUTPUT_TOKENS.buckets)
        threshold = usual.answer_tokens * limits.of("token_spike_ratio", feature)
        yield Measure(LONG_ANSWERS, "feature", feature, "", longer, threshold)
