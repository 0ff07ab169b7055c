"""What the demo shows, as values: moments, the moving picture, and the dollars that an early alert saves."""

from __future__ import annotations

from typing import NamedTuple

#: Hours until a report that is made once a day tells of an incident.
REPORT_HOURS = 9
_MINUTE = 60.0

CALM, INCIDENT, FORWARD, REPAIRED = "calm", "incident", "forward", "repaired"
FIRED, NOTIFIED = "fired", "notified"
#: Rows of the table of tokens: the name, and the types that are in it.
TOKENS = (
    ("cache read", ("cache_read",)),
    ("cache write", ("cache_write_5m", "cache_write_1h")),
    ("input", ("input",)),
    ("output", ("output",)),
)
_MILLION, _THOUSAND = 1_000_000, 1_000
PHASES = (CALM, INCIDENT, FORWARD, REPAIRED)


class Moment(NamedTuple):
    """Something that happened, `at` seconds after the application started."""

    at: float
    kind: str
    text: str


class Loss(NamedTuple):
    """What the lost cache cost above a working one, up to a moment.

    `seconds` is the time since the incident. `usd_per_request` is the mean of the requests that missed, and
    `requests_per_minute` how often the feature was asked before anything was played faster.
    """

    seconds: float
    requests: int
    usd: float
    usd_per_request: float
    requests_per_minute: float

    @property
    def until_report_usd(self) -> float:
        """What it costs, at the pace at which the feature is asked, until a daily report tells of it."""
        return self.usd_per_request * self.requests_per_minute * _MINUTE * REPORT_HOURS


class Played(NamedTuple):
    """The requests without a cache that were made, of those wanted; dollars above a working cache, and in all."""

    requests: int
    wanted: int
    lost_usd: float
    total_usd: float


class FeatureLine(NamedTuple):
    """One feature now. `hit_ratio` is None where no request asked for the cache."""

    name: str
    requests_per_minute: float
    usd_per_minute: float
    hit_ratio: float | None


class Picture(NamedTuple):
    """One frame of the view. Seconds count from the start of the application.

    `spend` and `hits` are one pair a call: when it ended with what it cost, or with whether it read the cache.
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
    moments: tuple[Moment, ...]
    loss: Loss | None
    threshold_usd_per_minute: float
    links: tuple[tuple[str, str], ...]
    left_out: str

    @property
    def usd_per_minute(self) -> float:
        """The pace of everything together."""
        return sum(feature.usd_per_minute for feature in self.features)

    @property
    def tokens(self) -> dict[str, float]:
        """Tokens a minute by the rows of `TOKENS`."""
        return {name: sum(self.tokens_per_minute[part] for part in parts) for name, parts in TOKENS}

    def moment(self, kind: str) -> Moment | None:
        """The first moment of this kind, if it came."""
        return next((moment for moment in self.moments if moment.kind == kind), None)


class Ending(NamedTuple):
    """How it went: the loss until the notification, or until the end where none came, and that of all that was played.

    `tokens_lost` is the cached prompt of the broken feature, on `model`. `left_out` says why nobody could be notified.
    """

    moments: tuple[Moment, ...]
    loss: Loss | None
    played: Played
    notified: bool
    model: str
    tokens_lost: int
    left_out: str = ""
    notes: tuple[str, ...] = ()


def amount(number: float) -> str:
    """A count that fits six characters: 950, 12.3k, 2.10M."""
    if number >= _MILLION:
        return f"{number / _MILLION:.2f}M"
    return f"{number / _THOUSAND:.1f}k" if number >= _THOUSAND else f"{number:.0f}"


def pace(spend: tuple[tuple[float, float], ...], at: float, window: float) -> float:
    """Dollars a minute over the `window` seconds before `at`."""
    return sum(usd for when, usd in spend if at - window < when <= at) / window * _MINUTE
