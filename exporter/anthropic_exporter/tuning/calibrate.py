"""Chooses thresholds from history: for each feature and model, so that false pages a week stay below a limit."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.history.series import Judged
from anthropic_exporter.tuning import tail
from anthropic_exporter.tuning.tail import Points

TAIL, RATIO, GREATEST = "tail", "ratio", "greatest"
METHODS = (TAIL, RATIO, GREATEST)
SAYS = {
    TAIL: "at which the extrapolated peaks of this history cause at most the accepted pages a week",
    RATIO: "3 x the mean while there is traffic",
    GREATEST: "1.2 x the highest value seen",
}
DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600
_STEP_SECONDS = 60.0
_SUBQUERY_SECONDS = 15.0
_RATIO, _HEADROOM = 3.0, 1.2
#: Measured over many shapes of traffic by bench/tuning/pages_by_shape.py, 2026-11-30.
MOST_TIMES = 5.0
_AIM, _HEADROOM_PEAKS = 0.5, 2.0
#: Of the history that expected pages need, how much has to be from Monday to Friday.
_WORKING_SECONDS = 20 * 3_600.0
_SATURDAY = 5
#: The thresholds that page for money; the others are chosen on request.
DEFAULT_KINDS = (series.COST_KIND, series.REQUEST_KIND)
#: Seconds that are left out before and after an incident.
_AROUND_SECONDS = 600.0

Place = tuple[str, str]
Span = tuple[float, float]


class Choice(NamedTuple):
    """A threshold by one method; pages a week that are expected (None if unknown), and pages that were seen."""

    method: str
    value: float
    expected: float | None
    seen: int


class Calibrated(NamedTuple):
    """One signal: its history, the current threshold, and the choices.

    `is_new` says that it has less than a working day of history, because it began late: nothing is known of it yet.
    `is_gone` says the same of one that ended early: nothing would be known of it if it came back.
    `is_limited` says that the history is too short for its share of the pages: `tail` would have to extrapolate
    further.
    """

    judged: Judged
    feature: str
    model: str
    current: Choice | None
    choices: Mapping[str, Choice]
    points: Points
    is_limited: bool = False
    is_new: bool = False
    is_gone: bool = False

    @property
    def is_known(self) -> bool:
        """Whether its own history is enough for a threshold that somebody relies on."""
        return not (self.is_new or self.is_gone)

    @property
    def hours(self) -> int:
        """How many hours of the history have a value above 0."""
        return len(tail.peaks_of(self.points, _HOUR_SECONDS))

    @property
    def daily(self) -> list[float]:
        """The greatest value of each day."""
        found: dict[int, float] = {}
        for at, value in self.points:
            found[int(at // DAY_SECONDS)] = max(found.get(int(at // DAY_SECONDS), 0.0), value)
        return [found[day] for day in sorted(found)]


class Calibration(NamedTuple):
    """All signals of a span.

    `seconds` is how much of it has history, without what was left out; `working_seconds` is the part of that from
    Monday to Friday, UTC.
    `unjudged` is how many alerts of the span fired for one of these thresholds and have no verdict.
    """

    start: float
    end: float
    seconds: float
    pages: float
    found: tuple[Calibrated, ...]
    left_out: tuple[Span, ...]
    working_seconds: float = 0.0
    unjudged: int = 0

    @property
    def is_long_enough(self) -> bool:
        """Whether there is a whole working day of history, which expected pages a week need."""
        return _is_enough(self.seconds, self.working_seconds)


def calibrate(
    prometheus: Prometheus,
    span: Span,
    pages: float,
    incidents: Iterable[Span] = (),
    kinds: Sequence[str] = DEFAULT_KINDS,
    advance: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """Choose thresholds from a span so that all together give at most `pages` false pages a week.

    Args:
        prometheus: has the series that the rules record.
        span: start and end in Unix seconds.
        pages: false pages a week that are accepted, of all thresholds together.
        incidents: spans that are not ordinary traffic.
        kinds: which signals thresholds are chosen for, of `series.KINDS`.
        advance: called with the number of seconds that were read.
    """
    start, end = span
    left_out = tuple((since - _AROUND_SECONDS, until + _AROUND_SECONDS) for since, until in incidents)
    signals = []
    asked = [judged for judged in series.JUDGED if judged.kind in kinds]
    for judged in asked:
        found = prometheus.range(_greatest(judged), start, end, _STEP_SECONDS)
        signals += [(judged, place, points) for place, points in _by_place(found, left_out).items() if points]
        advance((end - start) / len(asked))
    moments = _known_moments(prometheus, span, left_out, [points for _, _, points in signals])
    seconds, working = _length(moments)
    current, share = thresholds(prometheus, end), pages / max(len(signals), 1)
    chosen = tuple(_of(signal, _given(signal[2], moments, start, share), current) for signal in signals)
    return Calibration(start, end, seconds, pages, chosen, left_out, working)


def _length(moments: Collection[float]) -> Span:
    """Seconds of history, and those of them from Monday to Friday."""
    return _STEP_SECONDS * len(moments), _STEP_SECONDS * sum(map(_is_working, moments))


def _is_enough(seconds: float, working_seconds: float) -> bool:
    return seconds >= DAY_SECONDS and working_seconds >= _WORKING_SECONDS


def _greatest(judged: Judged) -> str:
    """The greatest value of each step."""
    if judged.expression:
        return f"max_over_time(({judged.expression})[{_STEP_SECONDS:g}s:{_SUBQUERY_SECONDS:g}s])"
    return f"max_over_time({judged.series}[{_STEP_SECONDS:g}s])"


def _by_place(found: Iterable[Any], left_out: Sequence[Span]) -> dict[Place, Points]:
    """Values by feature and model: the greatest of all processes, without the incidents."""
    places: dict[Place, dict[float, float]] = {}
    for one in found:
        values = places.setdefault((one.labels.get("feature", ""), one.labels.get("model", "")), {})
        for at, value in one.points:
            if math.isfinite(value) and not _is_in(at, left_out):
                values[at] = max(values.get(at, 0.0), value)
    return {place: sorted(values.items()) for place, values in places.items() if max(values.values(), default=0.0) > 0}


def _known_moments(
    prometheus: Prometheus, span: Span, left_out: Sequence[Span], signals: Sequence[Points]
) -> set[float]:
    """The steps in which the rules were evaluated. A job that runs an hour a night has no signals in the others."""
    found = prometheus.range(f"count({series.THRESHOLD})", *span, _STEP_SECONDS)
    evaluated = {at for one in found for at, _ in one.points} | {at for points in signals for at, _ in points}
    return {at for at in evaluated if not _is_in(at, left_out)}


def _is_in(at: float, spans: Iterable[Span]) -> bool:
    return any(since <= at <= until for since, until in spans)


def _is_working(at: float) -> bool:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).weekday() < _SATURDAY


class _Given(NamedTuple):
    """The history of one signal: its seconds, its share of pages a week, whether it is enough; if not, why."""

    seconds: float
    share: float
    is_enough: bool
    is_new: bool
    is_gone: bool


def _given(points: Points, moments: Collection[float], start: float, share: float) -> _Given:
    """The history of a signal.

    One that began more than a day after the others has none before, and one that ended more than a day before them has
    none after. Only days from Monday to Friday end one: a job of weekdays is silent at the weekend.
    """
    active = [at for at, value in points if value > 0]
    is_late = active[0] >= start + DAY_SECONDS
    has_ended = _length([at for at in moments if at > active[-1]])[1] > DAY_SECONDS
    own = [at for at in moments if not (is_late and at < active[0]) and not (has_ended and at > active[-1])]
    is_enough = _is_enough(*_length(own))
    is_gone = has_ended and not is_enough
    return _Given(_STEP_SECONDS * len(own), share, is_enough, is_late and not (is_enough or is_gone), is_gone)


def _of(
    signal: tuple[Judged, Place, Points], given: _Given, current: Mapping[tuple[str, str, str], float]
) -> Calibrated:
    judged, (feature, model), points = signal
    seconds, share, known, is_new, is_gone = given
    fitted = tail.fit(points, seconds, is_daily=judged.is_daily)
    ordinary = tail.peaks_of(points, tail.DAY_SECONDS) if judged.is_daily else [one for _, one in points if one > 0]
    values = {
        TAIL: tail_threshold(fitted, points, seconds, share, judged.bounds),
        RATIO: _RATIO * statistics.fmean(ordinary),
        GREATEST: _HEADROOM * max(value for _, value in points),
    }

    def choice(method: str, value: float) -> Choice:
        expected = expected_pages(fitted, points, value, seconds) if known else None
        return Choice(method, value, expected, tail.episodes(points, value))

    choices = {name: choice(name, rounded_up(max(value, judged.floor))) for name, value in values.items()}
    now = resolve(current, judged.threshold, feature, model)
    is_limited = known and not judged.bounds and _wanted(fitted, share) > MOST_TIMES * max(value for _, value in points)
    in_force = None if now is None else choice("current", now)
    return Calibrated(judged, feature, model, in_force, choices, points, is_limited, is_new, is_gone)


def _wanted(fitted: tail.Tail, share: float) -> float:
    """The threshold by the tail alone."""
    return fitted.threshold(_AIM * share)


def tail_threshold(
    fitted: tail.Tail, points: Points, seconds: float, share: float, bounds: Sequence[float] = ()
) -> float:
    """The least threshold with at most `share` pages a week by the tail, and by what was seen.

    Where one page in all of the history is more than the share, the threshold is no lower than the greatest value. A
    percentile is known no finer than the bucket that it lies in, so its threshold is the upper bound of that one. Of
    other signals half of the share is aimed at, because weeks differ more than one of them shows; the fewer hours have
    traffic, the higher the threshold is above the greatest value, up to 5 times that.
    """
    greatest = max((value for _, value in points), default=0.0)
    least = greatest if share * seconds < tail.WEEK_SECONDS else 0.0
    if bounds:
        value = max(fitted.threshold(share), least)
        return next((bound for bound in bounds if bound >= value), value)
    headroom = 1 + _HEADROOM_PEAKS / fitted.known if fitted.known else 1.0
    return max(min(_wanted(fitted, share), MOST_TIMES * greatest), headroom * least)


def expected_pages(fitted: tail.Tail, points: Points, value: float, seconds: float) -> float | None:
    """Expected pages a week; below the level of the tail, the pages that were seen. None if there is a single peak."""
    seen = tail.episodes(points, value) * tail.WEEK_SECONDS / seconds
    if value < fitted.level:
        return seen
    return max(fitted.expected(value), 0.0) if fitted.known > 1 else None


def rounded_up(value: float) -> float:
    """To two significant digits, never down."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.2g}")


def thresholds(prometheus: Prometheus, at: float) -> dict[tuple[str, str, str], float]:
    """The current thresholds, by name, feature and model."""
    found = prometheus.vector(series.THRESHOLD, at)
    return {
        (one.labels.get("threshold", ""), one.labels.get("feature", ""), one.labels.get("model", "")): one.points[0][1]
        for one in found
    }


def resolve(current: Mapping[tuple[str, str, str], float], name: str, feature: str, model: str) -> float | None:
    """The most specific threshold of a feature and model, as the rules resolve it."""
    for key in ((name, feature, model), (name, feature, ""), (name, "", model), (name, "", "")):
        if key in current:
            return current[key]
    return None


def total_expected(calibration: Calibration, method: str) -> tuple[float | None, int]:
    """Expected pages a week of all thresholds of a method, None if they are known of none; of how many they are not."""
    expected = [one.choices[method].expected for one in calibration.found]
    known = [one for one in expected if one is not None]
    return sum(known) if known else None, len(expected) - len(known)


def as_json(calibration: Calibration, method: str) -> dict[str, Any]:
    """Everything but the points, for programs."""
    expected, unknown = total_expected(calibration, method)
    return {
        "start": calibration.start,
        "end": calibration.end,
        "days": calibration.seconds / DAY_SECONDS,
        "pages_a_week": calibration.pages,
        "is_long_enough": calibration.is_long_enough,
        "alerts_without_verdict": calibration.unjudged,
        "expected_pages_a_week": expected,
        "thresholds_without_expected_pages": unknown,
        "left_out": [list(span) for span in calibration.left_out],
        "method": method,
        "methods": SAYS,
        "thresholds": [
            {
                "threshold": one.judged.threshold,
                "feature": one.feature,
                "model": one.model,
                "unit": one.judged.unit,
                "hours_with_traffic": one.hours,
                "is_limited": one.is_limited,
                "is_new": one.is_new,
                "is_gone": one.is_gone,
                "current": one.current and one.current._asdict(),
                "choices": {name: choice._asdict() for name, choice in one.choices.items()},
                "greatest_by_day": one.daily,
            }
            for one in calibration.found
        ],
    }
