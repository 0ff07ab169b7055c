"""Turns alerts into actions: once per firing, undone when the alert resolves, each logged and counted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from anthropic_exporter import threads
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.lanes import DROPPED, FAILED, Lane, Lanes, Outcome
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.remedies.breakers import OPEN_BREAKER, AlertBreakers
from anthropic_exporter.remedies.firings import MAX_AGE_SECONDS, NEWS, REFUSED, Firings
from anthropic_exporter.remedies.log_lines import LogLines
from anthropic_exporter.remedies.polling import Credentials, Look, PolledAlertmanager, Poller
from anthropic_exporter.remedies.prewarm import REFRESH_CACHE, Prompt
from anthropic_exporter.remedies.token import Token
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route, refusal
from anthropic_exporter.wire import alertmanager
from anthropic_exporter.wire.alertmanager import FIRING, RESOLVED, IncomingAlert

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.guard import Guard
    from anthropic_exporter.recorder import Recorder

_log = Log("anthropic_exporter.remedies")
MOST_BYTES = 1_048_576
_MOST_WAITING = 1_000
#: Writing all prompts of a feature into the cache.
_REFRESH_SECONDS = 120.0
_LAST_ACTIONS_SECONDS = 2.0
#: Outcomes other than those of an action.
_REFUSED = "refused"
_CACHE_ALERTS = ("AnthropicCacheMissRateHigh", "AnthropicCacheMissWaste")

#: Does or undoes something about an alert; returns False if there was nothing to do.
Action = Callable[[IncomingAlert], Any]
_A = TypeVar("_A", bound=Action)


class _Remedy(NamedTuple):
    """An action and its alerts. Without a lane it runs at once, on the thread that brings the alert."""

    name: str
    wants: Callable[[IncomingAlert], bool]
    apply: Action
    undo: Action | None
    trusts: Callable[[IncomingAlert], bool]
    lane: Lane[IncomingAlert] | None

    def acts_on(self, alert: IncomingAlert) -> bool:
        return self.wants(alert) and (alert.status == FIRING or self.undo is not None)


class Remedies:
    """Actions of this process on alerts from Alertmanager. There are none until a remedy is registered.

    Alerts are received by Alertmanager's webhook (`serve(recorder, remedies=remedies)`, which needs `token_file`), by
    polling Alertmanager (`watch`), or both; the same firing acts once. Breakers are opened first, and have their own
    memory of firings. Each other remedy has its own thread while it has work, so that one that hangs does not delay the
    others.

    Args:
        recorder: the recorder that counts the actions.
        guard: the Guard whose breakers `open_breaker` opens.
        token_file: a file with the bearer token of the webhook; read for each request, so that it can be changed.
        dry_run: log and count actions without doing them.
        max_age_seconds: alerts that began longer ago are refused.
        clock: monotonic seconds.

    Attributes:
        recorder: as given; for remedies that make calls themselves.

    Raises:
        ConfigurationError: the token file cannot be read, or is empty.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        guard: Guard | None = None,
        token_file: str | Path | None = None,
        dry_run: bool = False,
        max_age_seconds: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recorder = recorder
        self._guard = guard
        self._token = None if token_file is None else Token(token_file)
        self._dry_run = dry_run
        self._clock = clock
        self._remedies: tuple[_Remedy, ...] = ()
        self._prompts: dict[str, list[Prompt]] = {}
        # A flood of alerts of other remedies must not push those of breakers out of memory.
        self._breaker_firings = Firings(max_age_seconds=max_age_seconds)
        self._firings = Firings(max_age_seconds=max_age_seconds)
        self._owed: dict[tuple[str, ...], tuple[IncomingAlert, tuple[_Remedy, ...]]] = {}
        self._lock = threading.RLock()
        self._lines = LogLines(_log, clock)
        self._lanes = Lanes("anthropic-remedies")
        self._owned = contextlib.ExitStack()
        self._watching = False

    # -- remedies and their alerts

    def prompt(self, feature: str, client: Any, request: Mapping[str, Any]) -> None:
        """Write this prompt into the cache again when a cache alert fires for the feature, once per cache lifetime.

        Args:
            feature: the feature of the alerts; its alerts with the label `remedy="refresh_cache"` are handled too.
            client: a sync client of the SDK. The cost is counted under the feature `refresh_cache`, whether or
                not the client has the recorder's middleware.
            request: the arguments of `messages.create` with their `cache_control`; `max_tokens` is replaced by 0.

        Raises:
            ConfigurationError: the client is async, or the request does not ask for caching.
        """
        made = Prompt(feature, client, request, self.recorder, self._clock)
        if not self._prompts:
            self._add(REFRESH_CACHE, self._wants_refresh, self._refresh, None, _REFRESH_SECONDS)
        self._prompts.setdefault(feature, []).append(made)

    def open_breaker(self, *alertnames: str, features: Iterable[str] | None = None, seconds: float = 3600.0) -> None:
        """Open the Guard's breaker for the feature of an alert, and close it when the alert resolves.

        Anybody who can send an alert could stop a feature. List the `features` that may be stopped; without the list,
        an alert opens nothing unless it came with the webhook's token, or from an Alertmanager that requires
        credentials.

        Args:
            alertnames: the alerts that open it; by default those with the label `remedy="open_breaker"`.
            features: the only features that may be stopped.
            seconds: the breaker closes after this time even if its alert still fires.

        Raises:
            ConfigurationError: there is no Guard, or it has no breaker of scope "feature".
        """
        only = None if features is None else frozenset((features,) if isinstance(features, str) else features)
        breakers = AlertBreakers(self._guard, seconds, only)

        def wants(alert: IncomingAlert) -> bool:
            named = alert.name in alertnames if alertnames else alert.remedy == OPEN_BREAKER
            return named and breakers.concerns(alert)

        self._add(OPEN_BREAKER, wants, breakers.open, breakers.close, None, breakers.trusts)

    def on(
        self, *alertnames: str, remedy: str = "", undo: Action | None = None, timeout_seconds: float = 30.0
    ) -> Callable[[_A], _A]:
        """Decorate a function that is called when one of these alerts fires; `undo` is called when it resolves.

        Args:
            alertnames: such as "AnthropicCacheMissWaste".
            remedy: also handle alerts with this value of the label `remedy`.
            undo: a function that takes the resolved alert.
            timeout_seconds: how long one call may take. After that it is counted as `timeout`, and the next one begins.

        Raises:
            ConfigurationError: neither an alert nor a label is given, or the timeout is not above 0.
        """
        if not (alertnames or remedy):
            raise ConfigurationError("remedies.on: name an alert, or a remedy=")
        if not timeout_seconds > 0:
            raise ConfigurationError("remedies.on: timeout_seconds must be above 0")

        def wants(alert: IncomingAlert) -> bool:
            return alert.name in alertnames or bool(remedy and alert.remedy == remedy)

        def register(action: _A) -> _A:
            self._add(getattr(action, "__name__", type(action).__name__), wants, action, undo, timeout_seconds)
            return action

        return register

    def _add(
        self,
        name: str,
        wants: Callable[[IncomingAlert], bool],
        apply: Action,
        undo: Action | None,
        timeout_seconds: float | None,
        trusts: Callable[[IncomingAlert], bool] = lambda _: True,
    ) -> None:
        remedy = _Remedy(name, wants, apply, undo, trusts, None)
        if timeout_seconds is not None:
            lane: Lane[IncomingAlert] = Lane(
                "anthropic-remedy",
                lambda alert, *_: Outcome(self._do(remedy, alert)),
                lambda alert, outcome: self._ended(remedy, alert, outcome),
                timeout_seconds=timeout_seconds,
                most_waiting=_MOST_WAITING,
            )
            self._lanes.add(lane)
            remedy = remedy._replace(lane=lane)
        with self._lock:
            self._remedies = (*self._remedies, remedy)

    # -- how alerts come in

    def routes(self) -> tuple[Route, ...]:
        """The route `/alerts`, for `serve`.

        Raises:
            ConfigurationError: there is no token file.
        """
        if self._token is None:
            raise ConfigurationError("remedies take a webhook only with a token: give Remedies(token_file=...)")
        return (Route("/alerts", self._webhook, method="POST", max_body_bytes=MOST_BYTES, admit=self._token.admit),)

    def watch(
        self,
        *urls: str,
        every_seconds: float = 5.0,
        username: str = "",
        password_file: str | Path | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        """Poll Alertmanager every few seconds for alerts with the label `remedy`. Call this after a fork.

        An alert that disappears has resolved, unless Alertmanager was restarted in the last two minutes, or does not
        respond.

        Args:
            urls: such as "http://alertmanager:9093"; several addresses are one cluster, whose alerts are merged.
            every_seconds: seconds between two requests.
            username: for basic authentication, if Alertmanager's `--web.config.file` requires it.
            password_file: a file with the password.
            token_file: a file with a bearer token, for a proxy that requires one.

        Raises:
            ConfigurationError: there is no address, one is not an http address, the credentials are inconsistent or
                cannot be read, or `watch` was called before.
        """
        if not urls:
            raise ConfigurationError("remedies.watch: give the address of Alertmanager")
        if self._watching:
            raise ConfigurationError("remedies.watch: call it once, with all addresses")
        credentials = Credentials(username, password_file, token_file)
        sources = [PolledAlertmanager(url, credentials) for url in urls]
        self._watching = True
        poller = Poller(sources, every_seconds, self._polled, lambda error: self._failed("remedies_poll", error))
        self._owned.callback(poller.close)

    def take(self, alerts: Iterable[IncomingAlert], *, authenticated: bool = True) -> bool:
        """Act on alerts, each firing once. False if there was no room for some: send those again.

        Args:
            alerts: the alerts.
            authenticated: whether their sender is known, as your own code is.
        """
        threads.retry()
        with self._lock:
            done = self._take_all([one._replace(authenticated=authenticated) for one in alerts])
        self._lines.write()  # a log handler may take its time
        self._lanes.watch()
        return done

    def _polled(self, look: Look) -> None:
        with self._lock:
            # Breakers first: nothing that a remedy does may delay one.
            for firings, remedies in self._by_urgency():
                alerts = firings.polled(_wanted(look.active, remedies), complete=look.complete)
                self._take_each(alerts, firings, remedies)
                for alert in alerts:
                    if alert.status == RESOLVED:
                        firings.gone(alert)
            self._settle_debts()
        self._lines.write()
        self._lanes.watch()

    def _webhook(self, request: Request) -> Answer:
        try:
            alerts = _datable(alertmanager.parse_webhook(request.body))
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST, "the body is not what Alertmanager's webhook sends")
        if not self.take(alerts):
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many actions are waiting")
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    # -- how actions are done

    def _by_urgency(self) -> tuple[tuple[Firings, tuple[_Remedy, ...]], ...]:
        """Breakers, then all other remedies, each with the firings that they know."""
        urgent = tuple(one for one in self._remedies if one.lane is None)
        return (
            (self._breaker_firings, urgent),
            (self._firings, tuple(one for one in self._remedies if one.lane is not None)),
        )

    def _take_all(self, alerts: list[IncomingAlert]) -> bool:
        """Act on alerts. False if an action waits for room."""
        (breakers, urgent), (others, queued) = self._by_urgency()
        self._take_each(alerts, breakers, urgent)
        self._settle_debts()
        return self._take_each(alerts, others, queued)

    def _take_each(self, alerts: list[IncomingAlert], firings: Firings, remedies: tuple[_Remedy, ...]) -> bool:
        now = self.recorder.clock()
        done = [self._take(alert, firings, remedies, now) for alert in _wanted(alerts, remedies)]
        return all(done)

    def _take(self, alert: IncomingAlert, firings: Firings, remedies: tuple[_Remedy, ...], now: float) -> bool:
        """Act on an alert, if it is news. False if an action waits for room."""
        verdict = firings.take(alert, now)
        wanting = [one for one in remedies if verdict in (NEWS, REFUSED) and one.acts_on(alert)]
        trusting = [one for one in wanting if verdict == NEWS and (alert.status != FIRING or one.trusts(alert))]
        for remedy in wanting:
            if remedy not in trusting:
                self._report(remedy, alert, _REFUSED)
        debt = tuple(one for one in trusting if not self._act(one, alert))
        if debt:
            self._owe(alert, debt)
        return not debt and _debt_of(alert) not in self._owed

    def _act(self, remedy: _Remedy, alert: IncomingAlert) -> bool:
        """Do it now or queue it. False if there is no room."""
        if remedy.lane is None:
            self._report(remedy, alert, self._do(remedy, alert))
            return True
        return remedy.lane.put(alert)

    def _owe(self, alert: IncomingAlert, debt: tuple[_Remedy, ...]) -> None:
        """Remember what there was no room for; it is done with the next alerts, or when this one is sent again."""
        for remedy in debt:
            self._report(remedy, alert, DROPPED)
        self._owed[_debt_of(alert)] = alert, debt
        while len(self._owed) > _MOST_WAITING:
            del self._owed[next(iter(self._owed))]

    def _settle_debts(self) -> None:
        if not any(one.lane is not None and one.lane.room for one in self._remedies):
            return
        for key, (alert, debt) in list(self._owed.items()):
            left = tuple(one for one in debt if not self._act(one, alert))
            if left:
                self._owed[key] = alert, left
            else:
                del self._owed[key]

    def _do(self, remedy: _Remedy, alert: IncomingAlert) -> str:
        try:
            return self._done(remedy, alert)
        except BaseException as error:  # noqa: BLE001 - the error boundary; SystemExit of a remedy ends nothing
            self._failed("remedies", error)
            return FAILED

    def _done(self, remedy: _Remedy, alert: IncomingAlert) -> str:
        if self._dry_run:
            return "dry_run"
        if alert.status == FIRING:
            return "skipped" if remedy.apply(alert) is False else "applied"
        return "skipped" if remedy.undo is None or remedy.undo(alert) is False else "undone"

    def _report(self, remedy: _Remedy, alert: IncomingAlert, outcome: str) -> None:
        """Count an outcome, and note its line, which `_lines.write` writes once no lock is held."""
        with contextlib.suppress(Exception):  # a strict recorder raises; this thread goes on
            self.recorder.count(f.REMEDY_ACTIONS, remedy.name, outcome)
        self._lines.note(remedy.name, outcome, alert, is_repetitive=outcome in (_REFUSED, DROPPED))

    def _ended(self, remedy: _Remedy, alert: IncomingAlert, outcome: str) -> None:
        """Report what a lane did, on a thread that holds no lock."""
        self._report(remedy, alert, outcome)
        self._lines.write()

    def _failed(self, stage: str, error: BaseException) -> None:
        with contextlib.suppress(Exception):  # a strict recorder raises; this thread goes on
            self.recorder.failed(stage, error)

    def _wants_refresh(self, alert: IncomingAlert) -> bool:
        return alert.feature in self._prompts and (alert.name in _CACHE_ALERTS or alert.remedy == REFRESH_CACHE)

    def _refresh(self, alert: IncomingAlert) -> bool:
        due = [prompt for prompt in self._prompts[alert.feature] if prompt.due]
        failures = [failure for prompt in due if (failure := prompt.warm()) is not None]
        if failures:
            raise failures[0]
        return bool(due)

    # -- its end

    def flush(self, timeout: float) -> bool:
        """Wait until everything that is queued was done; False if `timeout` seconds are not enough."""
        return self._lanes.flush(timeout)

    def close(self) -> None:
        """Stop asking and acting; what waits is still done, for two seconds. Idempotent."""
        self._owned.close()
        self._lanes.close(_LAST_ACTIONS_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _debt_of(alert: IncomingAlert) -> tuple[str, ...]:
    return (*alert.key, alert.status)


def _wanted(alerts: Iterable[IncomingAlert], remedies: tuple[_Remedy, ...]) -> list[IncomingAlert]:
    """The alerts that one of the remedies handles. Other alerts are never remembered."""
    return [alert for alert in alerts if any(one.wants(alert) for one in remedies)]


def _datable(alerts: list[IncomingAlert]) -> list[IncomingAlert]:
    if not all(alert.started_at for alert in alerts):
        raise ValueError("an alert without its start cannot be distinguished from a replay")
    return alerts
