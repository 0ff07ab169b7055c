"""The review of a span: every alert that fired with its verdict, and what follows from all of them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.tuning import onset
from anthropic_exporter.tuning.firings import Firing
from anthropic_exporter.tuning.onset import Detection, Summary
from anthropic_exporter.tuning.saved import ESTIMATED_FORMULA, MEASURED_FORMULA, Savings, saved
from anthropic_exporter.tuning.verdicts import FALSE, MISSED, TRUE, Verdict

_HEADROOM = 1.1
_STEP_SECONDS = 300.0
#: Severities of alerts that do not page, and therefore need no verdict.
_QUIET = ("info", "none")


class Reviewed(NamedTuple):
    """One firing, how it was noticed, and its verdict: `true`, `false`, or empty."""

    firing: Firing
    detection: Detection
    verdict: str
    note: str = ""

    @property
    def is_quiet(self) -> bool:
        """Whether the alert only informs, and does not page."""
        return self.firing.severity in _QUIET


class Suggestion(NamedTuple):
    """A threshold that would have avoided the false alerts of a feature and model.

    `value` is None if a true alert was not higher than a false one, so that no threshold separates them.
    """

    threshold: str
    feature: str
    model: str
    value: float | None
    highest_false: float
    lowest_true: float | None
    unit: str


class Review(NamedTuple):
    """Everything about the alerts of a span. `evaluated_seconds` is how long rules were evaluated, None if unknown."""

    start: float
    end: float
    reviewed: tuple[Reviewed, ...]
    missed: tuple[Verdict, ...]
    detection: Summary | None
    saved: Savings
    suggestions: tuple[Suggestion, ...]
    evaluated_seconds: float | None = None

    def count(self, verdict: str) -> int:
        """How many firings have this verdict."""
        return sum(1 for one in self.reviewed if one.verdict == verdict)

    @property
    def pages(self) -> list[Reviewed]:
        """The firings that paged somebody, and those that have a verdict."""
        return [one for one in self.reviewed if one.verdict or not one.is_quiet]

    @property
    def unjudged(self) -> list[Reviewed]:
        """The firings that paged somebody and have no verdict."""
        return [one for one in self.pages if not one.verdict]

    @property
    def quiet(self) -> list[tuple[str, int]]:
        """The alerts that only informed, with how often they fired, the most frequent first."""
        fired = collections.Counter(one.firing.alert for one in self.reviewed if one.is_quiet and not one.verdict)
        return fired.most_common()

    @property
    def precision(self) -> float | None:
        """The share of judged alerts that were true; None if none is judged."""
        judged = self.count(TRUE) + self.count(FALSE)
        return self.count(TRUE) / judged if judged else None

    @property
    def noisiest(self) -> list[tuple[str, int, int]]:
        """Alerts that paged, with how often they fired and how often that was false, the noisiest first."""
        fired = collections.Counter(one.firing.alert for one in self.pages)
        false = collections.Counter(one.firing.alert for one in self.pages if one.verdict == FALSE)
        rows = [(alert, count, false[alert]) for alert, count in fired.items()]
        return sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))


def review(
    prometheus: Prometheus,
    found: Iterable[Firing],
    verdicts: Mapping[str, Verdict],
    span: tuple[float, float],
    advance: Callable[[float], None] = lambda _: None,
) -> Review:
    """Judge the firings of a span by the verdicts, and measure how they were noticed."""
    reviewed, ended = [], dict[str, float]()
    for firing in found:
        verdict = verdicts.get(firing.id)
        before = ended.get(key := f"{firing.alert} {sorted(firing.labels.items())}")
        detection = onset.detection(prometheus, firing, before)
        ended[key] = firing.end
        reviewed.append(
            Reviewed(firing, detection, verdict.verdict if verdict else "", verdict.note if verdict else "")
        )
        advance(1)
    start, end = span
    missed = tuple(one for one in verdicts.values() if one.verdict == MISSED and start <= one.seconds < end)
    true = [one.firing for one in reviewed if one.verdict == TRUE]
    summary = onset.summarise(one.detection for one in reviewed if one.verdict != FALSE)
    return Review(
        start,
        end,
        tuple(reviewed),
        missed,
        summary,
        saved(prometheus, start, end, true),
        tuple(_suggestions(prometheus, reviewed)),
        evaluated_seconds(prometheus, start, end),
    )


def evaluated_seconds(prometheus: Prometheus, start: float, end: float) -> float:
    """How much of a span has the thresholds that the rules record: in the rest no alert can have fired."""
    found = prometheus.range(f"count({series.THRESHOLD})", start + _STEP_SECONDS, end, _STEP_SECONDS)
    return _STEP_SECONDS * sum(len(one.points) for one in found)


def _suggestions(prometheus: Prometheus, reviewed: list[Reviewed]) -> list[Suggestion]:
    found = []
    for judged in (one for one in series.JUDGED if not one.expression):
        groups: dict[tuple[str, str], list[Reviewed]] = {}
        for one in reviewed:
            if one.firing.alert == judged.alert and one.verdict:
                groups.setdefault((one.firing.feature, one.firing.model), []).append(one)
        for (feature, model), group in groups.items():
            if bool(feature or model) != judged.series.startswith("total:"):
                found.append(_suggestion(prometheus, judged, (feature, model), group))
    return [one for one in found if one is not None]


def _suggestion(
    prometheus: Prometheus, judged: series.Judged, place: tuple[str, str], group: list[Reviewed]
) -> Suggestion | None:
    false = [_peak(prometheus, judged, one.firing) for one in group if one.verdict == FALSE]
    true = [_peak(prometheus, judged, one.firing) for one in group if one.verdict == TRUE]
    highest = max((peak for peak in false if peak is not None), default=None)
    if highest is None:
        return None
    lowest = min((peak for peak in true if peak is not None), default=None)
    value = _rounded(_HEADROOM * highest)
    apart = lowest is None or value < lowest
    return Suggestion(judged.threshold, *place, value if apart else None, highest, lowest, judged.unit)


def _peak(prometheus: Prometheus, judged: series.Judged, firing: Firing) -> float | None:
    found = prometheus.samples(judged.series, firing.seconds + 1, firing.end + 0.5)
    values = [
        value
        for one in found
        if all(one.labels.get(name, "") == firing.labels.get(name, "") for name in ("feature", "model"))
        for _, value in one.points
    ]
    return max(values, default=None)


def _rounded(value: float) -> float:
    """Round to two significant digits, which people can remember."""
    return float(f"{value:.2g}")


def as_json(review: Review) -> dict[str, Any]:
    """Everything, for programs. Times are Unix seconds."""
    return {
        "start": review.start,
        "end": review.end,
        "alerts": [
            {
                "id": one.firing.id,
                **one.firing._asdict(),
                "labels": dict(one.firing.labels),
                "seconds": one.firing.seconds,
                "detection": {**one.detection._asdict(), "total": one.detection.total},
                "verdict": one.verdict,
                "note": one.note,
            }
            for one in review.reviewed
        ],
        "missed": [one._asdict() for one in review.missed],
        "evaluated_seconds": review.evaluated_seconds,
        "precision": review.precision,
        "detection": None if review.detection is None else review.detection._asdict(),
        "saved": {
            "measured_usd": review.saved.measured_usd,
            "measured_is": MEASURED_FORMULA,
            "blocked_requests": review.saved.blocked,
            "estimated_usd": review.saved.estimated_usd,
            "estimated_is": ESTIMATED_FORMULA,
        },
        "without_verdict": len(review.unjudged),
        "info": [{"alert": alert, "fired": fired} for alert, fired in review.quiet],
        "noisiest": [{"alert": alert, "fired": fired, "false": false} for alert, fired, false in review.noisiest],
        "suggestions": [one._asdict() for one in review.suggestions],
    }
