"""Which half hours of a simulated week come near to an alert: computed from the calls alone, without a Prometheus.

The paces, baselines and shares that the alerts of severity warning and critical compare are computed as the rules do,
scrape by scrape. A half hour is kept if a condition holds in it with thresholds and guards that are `SHARE` of those in
force. Only these half hours can have an alert, and only they need an exact judge.

The screen does not see: what scrapes find of a deploy, a launch and a restart of Prometheus beside its calls, so the
half hours of these events are kept where they are asked for; budgets, which are out of reach here by their definition;
alerts about the meter, Prometheus and collectors, whose series change only in those half hours; requests in flight.
`python -m bench.false_alarms.agreement` compares it with the exact judge over whole weeks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.metrics.quantiles import quantile
from anthropic_exporter.rules import settings
from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS
from bench.false_alarms import run, traffic

#: Of thresholds and guards.
SHARE = 0.8
#: Of the thresholds of one request, which the screen sees as the rules do.
SHARE_OF_ONE = 0.95
MINUTE = 60
NUMBERS = detection_numbers()
BOUNDS = traffic.HISTOGRAMS["anthropic_request_output_tokens"]
EVENTS = (traffic.LAUNCH, *traffic.DEPLOYS, *traffic.PROMETHEUS_RESTARTS[::30])
#: A restart shifts what a scrape finds by a scrape; after a gap, windows are full again within ten minutes.
AFTER_EVENT_SECONDS = 600
Sums = list[float]


class Used(NamedTuple):
    """What the calls of a feature used since the last scrape."""

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    prompt: int = 0
    read: int = 0
    asked: int = 0
    missed: int = 0
    miss_usd: float = 0.0
    answers: int = 0
    failed: int = 0
    limited: int = 0
    overloaded: int = 0


class Week(NamedTuple):
    """A week of one feature, scrape by scrape: running sums of each field, the dearest call, the longest answer.

    `lengths` are the buckets of the answers.
    """

    feature: traffic.Feature
    sums: Mapping[str, Sums]
    dearest: list[float]
    longest: list[int]
    lengths: list[list[int]]


def used(feature: traffic.Feature, calls: list[traffic.Call]) -> Used:
    """The sum of some calls."""
    done = [call for call in calls if call.outcome == "success"]
    missed = sum(call.missed for call in done)
    plain, output = sum(call.plain for call in done), sum(call.output for call in done)
    prompt = plain + feature.cached_prompt * len(done)
    cached = bool(feature.cached_prompt)
    return Used(
        len(calls),
        prompt + output,
        sum(call.usd for call in done),
        prompt,
        feature.cached_prompt * (len(done) - missed),
        cached * len(done),
        cached * missed,
        feature.input_price / 1e6 * 1.15 * feature.cached_prompt * missed,
        len(done),
        sum(call.outcome in ("api_error", "timeout") for call in calls),
        sum(call.outcome == "rate_limit_error" for call in calls),
        sum(call.outcome == "overloaded_error" for call in calls),
    )


def bucket(tokens: int) -> int:
    """The number of the bucket that counts an answer."""
    return next((number for number, bound in enumerate(BOUNDS) if tokens <= bound), len(BOUNDS))


def drawn(seed: int, step: int, seconds: int) -> list[Week]:
    """A week of all features."""
    instances = traffic.arrivals(seed, step)
    found = []
    for feature in traffic.FEATURES:
        own = [one for one in instances if one.feature is feature]
        nothing = Used()
        steps, dearest, longest, lengths = [], [], [], []
        for now in range(0, seconds, step):
            calls = [call for one in own for call in one.until(now)]
            steps.append(used(feature, calls) if calls else nothing)
            dearest.append(max((call.usd for call in calls), default=0.0))
            longest.append(max((call.output for call in calls), default=0))
            lengths.append([bucket(call.output) for call in calls if call.outcome == "success"])
        columns = zip(*steps, strict=True)
        sums = {name: [0.0, *accumulate(column)] for name, column in zip(Used._fields, columns, strict=True)}
        found.append(Week(feature, sums, dearest, longest, lengths))
    return found


def busiest_day(weeks: list[Week], step: int) -> run.Spent:
    """What the busiest day spends."""
    found = []
    for first in range(0, len(weeks[0].dearest), traffic.DAY // step):
        last = min(first + traffic.DAY // step, len(weeks[0].dearest))
        found.append([sum(week.sums[of][last] - week.sums[of][first] for week in weeks) for of in ("tokens", "usd")])
    return run.Spent(*map(max, zip(*found, strict=True)))


class Screen:
    """The conditions of the alerts, scrape by scrape.

    Args:
        weeks: those of all features.
        step: seconds between scrapes.
        thresholds: the defaults in force, by name.
    """

    def __init__(self, weeks: list[Week], step: int, thresholds: Mapping[str, float]) -> None:
        written = settings.windows(step)
        self.weeks = weeks
        self.step = step
        self.fast = int(written["fast_seconds"]) // step
        self.slow = settings.SLOW // step
        self.rate = settings.seconds(written["rate"]) // step
        self.near = {name: SHARE * value for name, value in thresholds.items()}
        self.of_one = {name: SHARE_OF_ONE * value for name, value in thresholds.items()}
        self.count = len(weeks[0].dearest)

    def kept(self, *, events: bool = True) -> set[int]:
        """Numbers of the half hours that may have an alert, and of those that have an event."""
        found = set()
        for seconds in EVENTS if events else ():
            found |= {seconds // SLICE_SECONDS, (seconds + AFTER_EVENT_SECONDS) // SLICE_SECONDS}
        for at in self.steps():
            # What the rules find at a scrape they evaluate until the next one.
            found |= {at * self.step // SLICE_SECONDS, (at + 1) * self.step // SLICE_SECONDS}
        return {one for one in found if one < self.count * self.step / SLICE_SECONDS}

    def steps(self) -> Iterator[int]:
        """Scrapes at which a condition nearly holds."""
        for week in self.weeks:
            yield from self.spikes(week, "tokens", "token_spike_ratio", "token_spike_min_tokens_per_minute")
            yield from self.spikes(week, "usd", "cost_spike_ratio", "cost_spike_min_usd_per_minute")
            yield from self.long_answers(week)
            yield from self.single_requests(week)
            yield from self.costs([week], "cost_usd_per_minute")
            yield from self.cache(week)
            yield from self.failures([week], ("failed",), "error_ratio")
        yield from self.costs(self.weeks, "total_cost_usd_per_minute")
        for model in {week.feature.model for week in self.weeks}:
            own = [week for week in self.weeks if week.feature.model == model]
            yield from self.failures(own, ("limited",), "rate_limited_ratio")
            yield from self.failures(own, ("overloaded",), "overloaded_ratio")

    def window(self, column: Sums, at: int, width: int) -> float:
        """What was counted in the last scrapes up to one."""
        return column[at + 1] - column[max(0, at + 1 - width)]

    def minutes(self, width: int) -> float:
        return width * self.step / MINUTE

    # --- more than usual

    def spikes(self, week: Week, of: str, ratio: str, floor: str) -> Iterator[int]:
        """AnthropicTokenSpike and AnthropicCostSpike by their pace."""
        baselines, requests = Baselines(self, week, week.sums[of]), Baselines(self, week, week.sums["requests"])
        rose, half_an_hour = -math.inf, 30 * MINUTE // self.step
        for at in range(self.count):
            for width in (self.fast, self.slow):
                pace = self.pace(week, of, at, width)
                if pace <= self.near[floor]:
                    continue
                if pace > self.near[ratio] * baselines.of_quarter(at):
                    rose = at
                certain = pace * self.beyond_chance(week, requests.of_hour(at), at, width)
                if at - rose <= half_an_hour and certain > self.near[ratio] * baselines.highest(at):
                    yield at

    def pace(self, week: Week, of: str, at: int, width: int) -> float:
        """Of dollars without the dearest request; nothing if there are too few requests."""
        if self.window(week.sums["requests"], at, width) < self.near["spike_min_requests"]:
            return -math.inf
        dearest = max(week.dearest[max(0, at + 1 - width) : at + 1]) if of == "usd" else 0.0
        return (self.window(week.sums[of], at, width) - dearest) / self.minutes(width)

    def beyond_chance(self, week: Week, usual: float, at: int, width: int) -> float:
        """The share of the requests that did not come by chance."""
        number = self.window(week.sums["requests"], at, width)
        usual = usual * self.minutes(width) if usual < math.inf else number
        return min(1.0, max(number - NUMBERS.chance_deviations * math.sqrt(number), usual) / number)

    def long_answers(self, week: Week) -> Iterator[int]:
        """AnthropicTokenSpike by the length of answers."""
        least = NUMBERS.fast_window_share * self.near["spike_min_requests"]
        short = NUMBERS.short_answers_share * self.near["spike_min_requests"]
        sums = [[0, *accumulate(each)] for each in zip(*map(spread, week.lengths), strict=True)]
        answers, few = week.sums["answers"], (1 - NUMBERS.long_answers_quantile) * (least + short)
        # The histogram's window begins between two scrapes: it has this many growths, or one fewer that count for more.
        widths = {self.fast, self.rate, self.rate - 1}
        for at in range(self.count):
            for width in widths:
                factor = max(1.0, self.rate / width)
                if factor * self.window(answers, at, width) < least:
                    continue
                counts = [factor * self.window(column, at, width) for column in sums]
                if factor * max(sum(counts) - counts[0], 0) <= few:
                    continue
                counts[0] += short
                longer = quantile(NUMBERS.long_answers_quantile, counts, BOUNDS)
                if longer > BOUNDS[0] and longer > self.near["token_spike_ratio"] * self.usual_length(sums, at):
                    yield at

    def usual_length(self, sums: list[Sums], at: int) -> float:
        """The 95th percentile of the last hour, or of the same an hour later yesterday."""
        found = []
        for ago in (0, traffic.DAY - traffic.HOUR):
            end, width = at + 1 - (ago + 5 * MINUTE) // self.step, traffic.HOUR // self.step
            counts = [column[max(0, end)] - column[max(0, end - width)] for column in sums]
            if sum(counts) >= self.near["spike_min_requests"]:
                found.append(quantile(NUMBERS.usual_answers_quantile, counts, BOUNDS))
        return max(found, default=math.inf)

    # --- more than the threshold

    def single_requests(self, week: Week) -> Iterator[int]:
        """AnthropicRequestUnusuallyExpensive: a request is visible for a minute."""
        for at in range(self.count):
            usd, tokens = week.dearest[at], week.longest[at]
            if usd > self.of_one["request_cost_usd"] or tokens > self.of_one["request_output_tokens"]:
                yield at
                yield at + NUMBERS.request_window_seconds // self.step

    def costs(self, weeks: list[Week], threshold: str) -> Iterator[int]:
        """AnthropicCostRateHigh."""
        for at in range(self.count):
            for width in (self.fast, self.slow):
                usd = sum(self.window(week.sums["usd"], at, width) for week in weeks) / self.minutes(width)
                requests = sum(self.window(week.sums["requests"], at, width) for week in weeks)
                if usd > self.near[threshold] and requests >= self.near["cost_min_requests"]:
                    yield at

    def cache(self, week: Week) -> Iterator[int]:
        """AnthropicCacheMissRateHigh and AnthropicCacheMissWaste."""
        if not week.feature.cached_prompt:
            return
        sums, least = week.sums, self.near["cache_min_requests"]
        prompts, reads = Baselines(self, week, sums["prompt"]), Baselines(self, week, sums["read"])
        for at in range(self.count):
            if self.window(sums["miss_usd"], at, self.slow) / self.minutes(self.slow) > self.near[WASTE]:
                yield at
            for width in (self.fast, self.slow):
                asked, missed = (self.window(sums[name], at, width) for name in ("asked", "missed"))
                if asked < least:
                    continue
                prompt, read = (self.window(sums[name], at, width) for name in ("prompt", "read"))
                usual = reads.of_hour(at) / prompts.of_hour(at) if prompts.of_hour(at) < math.inf else 0.0
                lost = usual - read / prompt > self.near["cache_read_share_drop"]
                wasted = self.window(sums["miss_usd"], at, width) / self.minutes(width) > self.near[WASTE]
                if (
                    missed > self.near["cache_miss_ratio"] * asked
                    or lost
                    or (wasted and missed > self.near["cache_miss_ratio"] * asked)
                ):
                    yield at

    def failures(self, weeks: list[Week], of: tuple[str, ...], threshold: str) -> Iterator[int]:
        """AnthropicErrorRateHigh, AnthropicRateLimited and AnthropicOverloaded."""
        for at in range(self.count):
            for width in (self.fast, self.slow):
                failed = sum(self.window(week.sums[name], at, width) for week in weeks for name in of)
                if failed < self.near["error_min_failures"]:
                    continue
                requests = sum(self.window(week.sums["requests"], at, width) for week in weeks)
                if requests >= self.near["error_min_requests"] and failed > self.near[threshold] * requests:
                    yield at


WASTE = "cache_miss_cost_usd_per_minute"


class Baselines:
    """What is usual of a feature's column, in units a minute; infinite if unknown, so that nothing exceeds it."""

    def __init__(self, screen: Screen, week: Week, column: Sums) -> None:
        width, minutes = screen.slow, screen.minutes(screen.slow)
        self.step = screen.step
        self.first = week.feature.from_second // screen.step
        paces = ((column[at + 1] - column[max(0, at + 1 - width)]) / minutes for at in range(screen.count))
        self.sums = [0.0, *accumulate(paces)]

    def average(self, at: int, since: int, until: int) -> float | None:
        """The average pace from some seconds ago until others."""
        first, last = max(self.first, at + 1 - since // self.step), at + 1 - until // self.step
        return (self.sums[last] - self.sums[first]) / (last - first) if last > first else None

    def of_hour(self, at: int) -> float:
        """That of the last hour without its last five minutes, once there is half an hour."""
        if at - self.first < 30 * MINUTE // self.step:
            return math.inf
        found = self.average(at, 65 * MINUTE, 5 * MINUTE)
        return math.inf if found is None else found

    def of_quarter(self, at: int) -> float:
        """That of the quarter of an hour before the last five minutes."""
        found = self.average(at, 20 * MINUTE, 5 * MINUTE)
        return 0.0 if found is None else found

    def highest(self, at: int) -> float:
        """The highest of the last hour, of this time yesterday, and of this time a week ago."""
        hour = self.of_hour(at)
        before = (self.average(at, day * traffic.DAY + 15 * MINUTE, day * traffic.DAY - 15 * MINUTE) for day in (1, 7))
        return max(hour, *(one for one in before if one is not None), 0.0)


def spread(lengths: list[int]) -> list[int]:
    """Answers by the number of their bucket."""
    found = [0] * (len(BOUNDS) + 1)
    for number in lengths:
        found[number] += 1
    return found
