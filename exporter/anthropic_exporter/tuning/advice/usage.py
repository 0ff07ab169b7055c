"""Reads the data of advice: what a span of history counted, by feature and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.increases import increases
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.tuning.advice import jobs

_STEP_SECONDS = 300.0
_DAY_SECONDS = 86_400.0
#: The value of the label `waste` for single requests without stream and tools.
UNSTREAMED = "unstreamed"
Counts = Mapping[tuple[str, ...], float]


class Usage(NamedTuple):
    """Increases over a span; `days` is how much of it has samples. The keys of each mapping are the labels named.

    `tokens` by model, feature, tier and type; `usd` by model, feature and tier, batches apart; `prompts` by model,
    feature, kind and gap, and `waste` by model, feature and waste, empty without `Recorder(advise=True)`; `savings`
    and `premiums` of the cache by model and feature; `jobs` dollars of unstreamed
    requests that a job sent, by the same.
    """

    days: float
    tokens: Counts
    usd: Counts
    prompts: Counts
    waste: Counts
    savings: Counts
    premiums: Counts
    jobs: Counts

    @property
    def is_watched(self) -> bool:
        """Whether any recorder watches requests for advice."""
        return bool(self.prompts or self.waste)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every model and feature, in order."""
        return sorted({(model, feature) for model, feature, *_ in self.tokens})


def read(prometheus: Prometheus, start: float, end: float, advance: Callable[[float], None] = lambda _: None) -> Usage:
    """Read the usage between two Unix seconds; `advance` is called with the parts of it that are done, 1 in all."""
    families = (
        (series.TOKENS, ("model", "feature", "tier", "type")),
        (series.COST, ("model", "feature", "tier")),
        (series.ADVICE_PROMPT_TOKENS, ("model", "feature", "kind", "gap")),
        (series.ADVICE_COST, ("model", "feature", "waste")),
        (series.CACHE_SAVINGS, ("model", "feature")),
        (series.CACHE_WRITE_PREMIUM, ("model", "feature")),
    )
    found = []
    for family, by in families:
        found.append(_sums(prometheus, family, by, (start, end)))
        advance(1 / (len(families) + 1))
    found.append(_jobs(prometheus, (start, end)) if any(waste == UNSTREAMED for *_, waste in found[3]) else {})
    advance(1 / (len(families) + 1))
    return Usage(_days(prometheus, start, end), *found)


def _jobs(prometheus: Prometheus, span: tuple[float, float]) -> Counts:
    """Dollars of unstreamed requests in runs of a job, by model and feature."""
    spent = increases(prometheus, series.ADVICE_COST, ("model", "feature", "waste"), (*span, _STEP_SECONDS))
    usd = jobs.by_place(
        ((one.labels[0], one.labels[1]), one.until, one.amount) for one in spent if one.labels[2] == UNSTREAMED
    )
    sent = increases(prometheus, series.REQUESTS, ("model", "feature"), (*span, _STEP_SECONDS))
    requests = jobs.by_place(((one.labels[0], one.labels[1]), one.until, one.amount) for one in sent)
    return {place: jobs.job_usd(steps, requests.get(place, {}), _STEP_SECONDS) for place, steps in usd.items()}


def _sums(prometheus: Prometheus, family: Family, by: Sequence[str], span: tuple[float, float]) -> Counts:
    sums: dict[tuple[str, ...], float] = {}
    for one in increases(prometheus, family, by, (*span, _STEP_SECONDS)):
        sums[one.labels] = sums.get(one.labels, 0.0) + one.amount
    return {labels: amount for labels, amount in sums.items() if amount > 0}


def _days(prometheus: Prometheus, start: float, end: float) -> float:
    """Days that have samples: the span without the time before the first recorder and gaps in scraping."""
    found = prometheus.range(f"count({series.TOKENS.name})", start + _STEP_SECONDS, end, _STEP_SECONDS)
    return sum(len(one.points) for one in found) * _STEP_SECONDS / _DAY_SECONDS
