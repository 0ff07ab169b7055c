"""The plot: calm, a deploy that breaks a feature, an alert, a notification, the rest of the loss. Time is injected."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.call import TOKEN_TYPES
from anthropic_exporter.demo import story
from anthropic_exporter.demo.ledger import Sum, total
from anthropic_exporter.demo.story import Ending, FeatureLine, Loss, Picture, Played, StoryEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthropic_exporter.demo.ledger import CallLog, PricedCall
    from anthropic_exporter.simulator.traffic import Application
    from anthropic_exporter.simulator.workload import Feature, Incident
    from anthropic_exporter.stack import Notification

_WINDOW_SECONDS = 30.0
#: Longest wait for the notification, and for the requests to be played, so that the demo ends on a slow machine too.
_PATIENCE_SECONDS = 120.0
#: Seconds after the notification (or the incident, if there is none) until the remaining requests are played faster.
_READING_SECONDS, _BAR_SECONDS, _ALONE_SECONDS = 5.0, 30.0, 15.0
#: Requests a second from then on.
FAST = 22.0
_MINUTE = 60.0
_STORY_CATEGORIES = ("cost", "cache")


class Scene(NamedTuple):
    """The constants of a run. Times are seconds; `epoch` is the Unix time at which the run started.

    `requests` is the number of requests without a cache until the story ends. `left_out` says why there are no
    notifications to wait for, or is empty. `note` is printed at the end.
    """

    calm: float
    requests: int
    incident: Incident
    features: tuple[Feature, ...]
    threshold_usd_per_minute: float
    links: tuple[tuple[str, str], ...]
    epoch: float
    left_out: str = ""
    note: str = ""

    @property
    def broken(self) -> Feature:
        """The feature that the incident breaks."""
        return next(one for one in self.features if one.name == self.incident.feature)

    @property
    def planned(self) -> float:
        """The approximate length of the story in seconds."""
        return self.calm + _ALONE_SECONDS + _READING_SECONDS + self.requests / FAST


class Play:
    """One run of the story; `step` advances it.

    Args:
        scene: the constants of this run.
        application: the sample application that the incident breaks.
        ledger: remembers what its calls cost.
        heard: returns all notifications so far.
        clock: seconds since the run started, the ledger's clock.
    """

    def __init__(
        self,
        scene: Scene,
        application: Application,
        ledger: CallLog,
        heard: Callable[[], Sequence[Notification]],
        clock: Callable[[], float],
    ) -> None:
        self._scene = scene
        self._application = application
        self._ledger = ledger
        self._heard = heard
        self._clock = clock
        self._moments = [
            StoryEvent(0.0, story.CALM, f"three features run; after {scene.calm:.0f} s a deploy breaks one")
        ]
        self._incident_at: float | None = None
        self._forward_at: float | None = None
        self.notification: Notification | None = None

    def step(self) -> bool:
        """Do what is due. Returns False at the end of the story."""
        now = self._clock()
        if self._incident_at is None:
            if now >= self._scene.calm:
                self._break(now)
            return True
        if self.notification is None:
            self._listen()
        if self._forward_at is None and now >= self._forward_due(self._incident_at):
            self._fast_forward(now)
        return not self._over(now, self._incident_at)

    def repair(self) -> None:
        """Roll the deploy back."""
        self._application.deploy(None)
        self._moments.append(StoryEvent(self._clock(), story.REPAIRED, "the deploy is rolled back"))

    def picture(self) -> Picture:
        """The current frame."""
        now = self._clock()
        entries = self._ledger.between(-1.0, now)
        window = total(entry for entry in entries if entry.at > now - _WINDOW_SECONDS)
        minutes = _WINDOW_SECONDS / _MINUTE
        asked = [entry for entry in entries if entry.cache_result in ("hit", "miss")]
        return Picture(
            now=now,
            planned=self._scene.planned,
            phase=self._phase(),
            window=_WINDOW_SECONDS,
            spend=tuple((entry.at, entry.cost_usd) for entry in entries),
            hits=tuple((entry.at, entry.cache_result == "hit") for entry in asked),
            features=tuple(self._line(feature, entries, now, minutes) for feature in self._scene.features),
            tokens_per_minute={kind: count / minutes for kind, count in zip(TOKEN_TYPES, window.tokens, strict=True)},
            hit_ratio=window.hit_ratio,
            broken_feature=self._scene.incident.feature,
            moments=tuple(self._moments),
            loss=self.loss(now),
            threshold_usd_per_minute=self._scene.threshold_usd_per_minute,
            links=self._scene.links,
            left_out=self._scene.left_out,
        )

    def ending(self) -> Ending:
        """The result of the run."""
        broken = self._scene.broken
        until = self.since_start(self.notification.received_at) if self.notification else self._clock()
        return Ending(
            tuple(self._moments[1:]),
            self.loss(until),
            self.played(),
            self.notification is not None,
            broken.model,
            broken.system_tokens,
            self._scene.left_out,
            self._notes(),
        )

    def loss(self, until: float) -> Loss | None:
        """The cost of the incident up to a moment; None before it."""
        if self._incident_at is None:
            return None
        paid, all_of_them = self._lost(until), self._lost(self._clock())
        return Loss(
            seconds=until - self._incident_at,
            requests=paid.misses,
            usd=paid.lost_usd,
            usd_per_request=all_of_them.lost_usd / all_of_them.misses if all_of_them.misses else 0.0,
            requests_per_minute=self._usual_pace(),
        )

    def played(self) -> Played:
        """The requests without a cache that were played."""
        found = self._lost(self._clock())
        return Played(found.misses, self._scene.requests, found.lost_usd, found.cost_usd)

    def since_start(self, unix_seconds: float) -> float:
        """A Unix time as seconds since the run started."""
        return unix_seconds - self._scene.epoch

    # -- inside

    def _notes(self) -> tuple[str, ...]:
        names = dict.fromkeys(one.alertname for one in self._heard() if one.firing and one != self.notification)
        also = f"Also notified: {', '.join(names)}" if names else ""
        return tuple(line for line in (also, self._scene.note) if line)

    def _break(self, now: float) -> None:
        self._incident_at = now
        incident = self._scene.incident
        self._application.deploy(incident, self._scene.requests)
        self._moments.append(StoryEvent(now, story.INCIDENT, f"{incident.feature}: {incident.cause}"))

    def _forward_due(self, incident_at: float) -> float:
        if self.notification is not None:
            return self.since_start(self.notification.received_at) + _READING_SECONDS
        return incident_at + (_ALONE_SECONDS if self._scene.left_out else _BAR_SECONDS)

    def _fast_forward(self, now: float) -> None:
        self._forward_at = now
        times = max(1.0, FAST * _MINUTE / self._scene.broken.per_minute)
        self._application.fast_forward(times)
        text = f"nobody acts: the rest of {self._scene.requests:,} requests, {times:.0f} times as fast"
        self._moments.append(StoryEvent(now, story.FORWARD, text))

    def _listen(self) -> None:
        self.notification = found = next(filter(self._tells_of_it, self._heard()), None)
        if found is None or self._incident_at is None:
            return
        fired, arrived = self.since_start(found.fired_at), self.since_start(found.received_at)
        self._moments += [
            StoryEvent(
                fired, story.FIRED, f"{found.alertname} fires, {fired - self._incident_at:.1f} s after the deploy"
            ),
            StoryEvent(
                arrived,
                story.NOTIFIED,
                f"the notification arrives, {arrived - self._incident_at:.1f} s after the deploy",
            ),
        ]

    def _tells_of_it(self, one: Notification) -> bool:
        mine = one.labels.get("feature") == self._scene.incident.feature
        after = self._incident_at is not None and self.since_start(one.received_at) >= self._incident_at
        return one.firing and mine and after and one.labels.get("category") in _STORY_CATEGORIES

    def _over(self, now: float, incident_at: float) -> bool:
        told = self.notification is not None or bool(self._scene.left_out)
        return (told and self.played().requests >= self._scene.requests) or now >= incident_at + _PATIENCE_SECONDS

    def _phase(self) -> str:
        kinds = [moment.kind for moment in self._moments]
        return next(kind for kind in reversed(kinds) if kind in story.PHASES)

    def _usual_pace(self) -> float:
        """Requests per minute of the broken feature at normal speed."""
        until = self._clock() if self._forward_at is None else self._forward_at
        found = self._ledger.between(-1.0, until)
        return sum(one.requests for one in found if one.feature == self._scene.broken.name) / max(1.0, until) * _MINUTE

    def _line(self, feature: Feature, entries: Sequence[PricedCall], now: float, minutes: float) -> FeatureLine:
        recent = total(one for one in entries if one.feature == feature.name and one.at > now - _WINDOW_SECONDS)
        return FeatureLine(feature.name, recent.requests / minutes, recent.cost_usd / minutes, recent.hit_ratio)

    def _lost(self, until: float) -> Sum:
        mine = self._scene.incident.feature
        found = self._ledger.between(self._incident_at or 0.0, until)
        return total(entry for entry in found if entry.feature == mine and entry.cache_result == "miss")
