"""The demo as values: events, frames, and the dollars that an early alert saves."""

from __future__ import annotations

from typing import NamedTuple

#: Hours until a daily report shows an incident.
REPORT_HOURS = 9
_MINUTE = 60.0

CALM, INCIDENT, FORWARD, REPAIRED = "calm", "incident", "forward", "repaired"
FIRED, NOTIFIED = "fired", "notified"
#: Rows of the token table: name and token types.
TOKENS = (
    ("cache read", ("cache_read",)),
    ("cache write", ("cache_write_5m", "cache_write_1h")),
    ("input", ("input",)),
    ("output", ("output",)),
)
_MILLION, _THOUSAND = 1_000_000, 1_000
PHASES = (CALM, INCIDENT, FORWARD, REPAIRED)


class StoryEvent(NamedTuple):
    """Something that happened, `at` seconds after the application started."""

    at: float
    kind: str
    text: str


class Loss(NamedTuple):
    """The cost of the lost cache above a working one, up to a moment.

    `seconds` is the time since the incident. `usd_per_request` is the mean over the requests that missed, and
    `requests_per_minute` is the rate of the feature at normal speed.
    """

    seconds: float
    requests: int
    usd: float
    usd_per_request: float
    requests_per_minute: float

    @property
    def until_report_usd(self) -> float:
        """The loss until a daily report, at the current rate."""
        return self.usd_per_request * self.requests_per_minute * _MINUTE * REPORT_HOURS


class Played(NamedTuple):
    """Requests played without a cache, of those wanted; dollars above a working cache, and in total."""

    requests: int
    wanted: int
    lost_usd: float
    total_usd: float


class FeatureLine(NamedTuple):
    """One feature now. `hit_ratio` is None if no request asked for the cache."""

    name: str
    requests_per_minute: float
    usd_per_minute: float
    hit_ratio: float | None


class Picture(NamedTuple):
    """One frame of the view. Seconds count from the start of the application.

    `spend` and `hits` have one pair a call: its end, and its cost or whether it read the cache.
    """

    now: float
    planned: float
    phase: str
    window: float
    spend: tuple[tuple[float, float], ...]
    hits: tuple[tuple[float, bool], ...]
    features: tuple[FeatureLine, ...]
    tokens_per_minute: dict[str, float]
    hit_ratio: float | None
    broken_feature: str
    moments: tuple[StoryEvent, ...]
    loss: Loss | None
    threshold_usd_per_minute: float
    links: tuple[tuple[str, str], ...]
    left_out: str

    @property
    def usd_per_minute(self) -> float:
        """Dollars per minute of all features."""
        return sum(feature.usd_per_minute for feature in self.features)

    @property
    def tokens(self) -> dict[str, float]:
        """Tokens a minute by the rows of `TOKENS`."""
        return {name: sum(self.tokens_per_minute[part] for part in parts) for name, parts in TOKENS}

    def moment(self, kind: str) -> StoryEvent | None:
        """The first event of this kind, or None."""
        return next((moment for moment in self.moments if moment.kind == kind), None)


class Ending(NamedTuple):
    """The result: the loss until the notification (or the end, if none arrived), and of all played requests.

    `tokens_lost` is the cached prompt of the broken feature, on `model`. `left_out` says why there was no notification.
    """

    moments: tuple[StoryEvent, ...]
    loss: Loss | None
    played: Played
    notified: bool
    model: str
    tokens_lost: int
    left_out: str = ""
    notes: tuple[str, ...] = ()


def amount(number: float) -> str:
    """A count in at most six characters: 950, 12.3k, 2.10M."""
    if number >= _MILLION:
        return f"{number / _MILLION:.2f}M"
    return f"{number / _THOUSAND:.1f}k" if number >= _THOUSAND else f"{number:.0f}"


def pace(spend: tuple[tuple[float, float], ...], at: float, window: float) -> float:
    """Dollars per minute over the `window` seconds before `at`."""
    return sum(usd for when, usd in spend if at - window < when <= at) / window * _MINUTE
