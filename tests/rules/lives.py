"""Turns the counters of a process, as a test gives them, into the two families that the rules read.

A test writes `anthropic_cost_usd_total{...}` as a person sees it on /metrics. Here the process behind each `instance`
gets a life, which ends where one of its counters falls, and its coarse counters, summed over user, type and outcome. It
started when the oldest `_created` says, or long before the test.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

LAST_RECORD = "anthropic_exporter_last_record_timestamp_seconds"
LONG_AGO = -1_000_000.0
SELECTOR = re.compile(r"([\w:]+)(?:\{(.*)\})?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
OF = {
    "anthropic_cost_usd_total": ("cost_usd",),
    "anthropic_tokens_total": ("tokens_{type}",),
    "anthropic_cache_requests_total": ("cache_requests_{result}",),
    "anthropic_cache_miss_cost_usd_total": ("cache_miss_cost_usd",),
    "anthropic_cache_savings_usd_total": ("cache_savings_usd",),
    "anthropic_cache_write_premium_usd_total": ("cache_write_premium_usd",),
    "anthropic_exporter_unpriced_tokens_total": ("unpriced_tokens",),
    "anthropic_exporter_record_errors_total": ("record_errors_{stage}",),
    "anthropic_exporter_label_overflow_total": ("label_overflow_{label}",),
    "anthropic_exporter_unmetered_responses_total": ("unmetered_{reason}",),
    "anthropic_exporter_stale_scrapes_total": ("stale_scrapes",),
    "anthropic_exporter_sink_dropped_calls_total": ("sink_dropped_calls",),
    "anthropic_exporter_limits_reached_total": ("limits_reached_{limit}",),
    "anthropic_guard_callbacks_total": ("guard_callbacks_{result}",),
    "anthropic_exporter_session_cost_mismatches_total": ("session_cost_mismatches",),
}
# a histogram's count of answers, where a test does not give the counter that the recorder writes with it
SAME_AS = {
    "anthropic_request_duration_seconds_count": "anthropic_requests_total",
    "anthropic_request_output_tokens_count": "anthropic_cache_requests_total",
}
Values = list[float | None]
Labels = dict[str, str]
Key = tuple[str, str, str, str]


class Counter(NamedTuple):
    """One counter of a test, step by step; None where a scrape does not find it."""

    name: str
    labels: Labels
    values: Values


def with_lives(series: list[dict[str, str]], seconds: float) -> list[dict[str, str]]:
    """The series of a test, and those of the lives of its processes; samples are so many seconds apart."""
    names = {parsed(one["series"])[0] for one in series}
    renamed = [(SAME_AS.get(name := parsed(one["series"])[0], name), one) for one in series]
    read = [
        {**one, "series": one["series"].replace(parsed(one["series"])[0], name)}
        for name, one in renamed
        if re.fullmatch(r"\w+_(total|created)", name) and (parsed(one["series"])[0] == name or name not in names)
    ]
    found = [Counter(*parsed(one["series"]), values_of(one["values"])) for one in read]
    created = [one for one in found if one.name.endswith("_created")]
    counted = [one for one in found if one.name in OF or one.name == "anthropic_requests_total"]
    counted += recorded(series, {target(one) for one in counted})
    instances = dict.fromkeys(target(one) for one in counted)
    return [
        *series,
        *(
            one
            for instance in instances
            for one in process(
                instance,
                [one for one in counted if target(one) == instance],
                [one for one in created if target(one) == instance],
                seconds,
            )
        ),
    ]


def recorded(series: list[dict[str, str]], counted: set[tuple[str, str]]) -> list[Counter]:
    """A counter of each process that shows only when it recorded last, but for those that a test names `uncounted`."""
    shown = [
        Counter("anthropic_requests_total", labels, values_of(one["values"]))
        for one in series
        for name, labels in [parsed(one["series"])]
        if name == LAST_RECORD and labels.get("instance") != "uncounted"
    ]
    return [
        one._replace(values=[None if value is None else 1.0 for value in one.values])
        for one in shown
        if target(one) not in counted
    ]


def target(one: Counter) -> tuple[str, str]:
    return one.labels.get("job", ""), one.labels.get("instance", "")


def parsed(text: str) -> tuple[str, Labels]:
    match = SELECTOR.match(text)
    assert match is not None, text
    return match[1], dict(LABEL.findall(match[2] or ""))


def values_of(text: str) -> Values:
    """A series in promtool's notation."""
    found: Values = []
    for token in text.split():
        if token == "stale":
            found.append(None)
        elif token.startswith("_"):
            found += [None] * int(token[2:] or 1)
        else:
            found += repeated(token)
    return found


def repeated(token: str) -> Iterator[float]:
    match = re.fullmatch(r"(-?[\d.e]+(?:e[+-]\d+)?)(?:([+-][\d.]+(?:e[+-]?\d+)?))?(?:x(\d+))?", token)
    assert match is not None, token
    start, step, times = float(match[1]), float(match[2] or 0), int(match[3] or 0)
    return (start + step * number for number in range(times + 1))


def process(
    instance: tuple[str, str], counters: list[Counter], created: list[Counter], seconds: float
) -> Iterator[dict[str, str]]:
    length = max(len(one.values) for one in counters)
    shown = [any(at(one, step) is not None for one in counters) for step in range(length)]
    births = [step for step in range(length) if step == 0 or any(falls(one, step) for one in counters)]
    for number, (first, end) in enumerate(zip(births, [*births[1:], length], strict=True)):
        life = "/".join([*instance, str(number)])
        steps = [step if first <= step < end and shown[step] else None for step in range(length)]
        if any(step is not None for step in steps):
            yield from one_life(life, instance, counters, born(created, steps, number, seconds), steps, seconds)


def at(one: Counter, step: int) -> float | None:
    return one.values[step] if step < len(one.values) else None


def falls(one: Counter, step: int) -> bool:
    before = next((value for value in reversed(one.values[:step]) if value is not None), None)
    now = at(one, step)
    return before is not None and now is not None and now < before - 1e-9


def born(created: list[Counter], steps: list[int | None], number: int, seconds: float) -> float:
    """Second at which a life began: what its counters say, or its first step for one that follows another."""
    inside = [value for one in created for step in steps if step is not None and (value := at(one, step)) is not None]
    first = next(step for step in steps if step is not None)
    return min(inside, default=LONG_AGO if number == 0 else first * seconds)


def one_life(
    life: str,
    instance: tuple[str, str],
    counters: list[Counter],
    start: float,
    steps: list[int | None],
    seconds: float,
) -> Iterator[dict[str, str]]:
    labels = {"job": instance[0], "instance": instance[1], "life": life}
    starts = [None if step is None else start for step in steps]
    ages = [None if step is None else step * seconds - start for step in steps]
    yield written("anthropic_exporter_start_timestamp_seconds", labels, starts)
    yield written("anthropic_exporter_age_seconds", labels, ages)
    for (of, feature, model, tier), values in sums(counters, steps).items():
        own = {"of": of, "feature": feature, "model": model, "tier": tier}
        yield written("anthropic_ledger_total", labels | own, values)


def sums(counters: list[Counter], steps: list[int | None]) -> dict[Key, Values]:
    """Sums over user, type and outcome. Those at 0 are there if the test gives them; the recorder leaves them out."""
    found: dict[Key, Values] = {}
    for one in counters:
        for key in keys(one):
            total = found.setdefault(key, [None] * len(steps))
            last: float | None = None
            for index, step in enumerate(steps):
                if step is not None:
                    last = last if at(one, step) is None else at(one, step)
                    total[index] = total[index] if last is None else (total[index] or 0.0) + last
    places = {key[1:3] for key in found}
    idle: Values = [None if step is None else 0.0 for step in steps]
    return {("requests", *place, ""): idle for place in places} | found


def keys(one: Counter) -> Iterator[Key]:
    where = one.labels.get("feature", ""), one.labels.get("model", "")
    if one.name == "anthropic_requests_total":
        outcome = one.labels.get("outcome", "success")
        yield ("requests", *where, "")
        if outcome != "success":
            yield (f"requests_{outcome}", *where, "")
        return
    tier = (
        one.labels.get("tier", "standard") if one.name in ("anthropic_cost_usd_total", "anthropic_tokens_total") else ""
    )
    for of in OF[one.name]:
        yield (of.format_map({"type": "input", "result": "hit", **one.labels}), *where, tier)


def written(name: str, labels: Labels, values: Values) -> dict[str, str]:
    braces = ", ".join(f'{label}="{value}"' for label, value in labels.items() if value or label == "life")
    runs = [(value, len(list(group))) for value, group in itertools.groupby(values)]
    notation = " ".join(f"_x{count}" if value is None else f"{value:.12g}x{count - 1}" for value, count in runs)
    return {"series": f"{name}{{{braces}}}", "values": notation}
