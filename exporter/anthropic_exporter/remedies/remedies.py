"""Alerts in, actions out: once for each firing, undone when it is over, each one logged and counted."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.metrics import families as f
from anthropic_exporter.remedies.breakers import OPEN_BREAKER, Breakers
from anthropic_exporter.remedies.firings import Ledger
from anthropic_exporter.remedies.polling import Look, Poller, Source
from anthropic_exporter.remedies.prewarm import REFRESH_CACHE, Prompt
from anthropic_exporter.remedies.token import Token
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route, refusal
from anthropic_exporter.wire import alertmanager
from anthropic_exporter.wire.alertmanager import FIRING, IncomingAlert

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.guard import Guard
    from anthropic_exporter.recorder import Recorder

_log = logging.getLogger("anthropic_exporter.remedies")
MOST_BYTES = 1_048_576
_MOST_WAITING = 1_000
_CACHE_ALERTS = ("AnthropicCacheMissRateHigh", "AnthropicCacheMissWaste")

#: Does or undoes something about an alert; False says that there was nothing to do.
Action = Callable[[IncomingAlert], Any]
_A = TypeVar("_A", bound=Action)


class _Remedy(NamedTuple):
    name: str
    wants: Callable[[IncomingAlert], bool]
    apply: Action
    undo: Action | None


class Remedies:
    """What this process does about alerts from outside. Does nothing until it is told what.

    Alerts come by Alertmanager's webhook (`serve(recorder, remedies=remedies)`, which needs `token_file`), by asking
    Alertmanager (`watch`), or both; the same firing acts once.

    Args:
        recorder: where actions are counted.
        guard: whose breakers `open_breaker` opens.
        token_file: holds the bearer token of the webhook; read with each request, so that it can be changed.
        dry_run: log and count what would have been done, and do nothing.
        clock: seconds that never go back.

    Attributes:
        recorder: as given; for remedies that make calls of their own.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recorder = recorder
        self._guard = guard
        self._token = None if token_file is None else Token(token_file)
        self._dry_run = dry_run
        self._clock = clock
        self._remedies: tuple[_Remedy, ...] = ()
        self._prompts: dict[str, list[Prompt]] = {}
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[_Remedy, IncomingAlert] | None] = queue.Queue(_MOST_WAITING)
        self._worker: threading.Thread | None = None
        self._owned = contextlib.ExitStack()
        self._watching = False

    # -- what is done about what

    def prompt(self, feature: str, client: Any, request: Mapping[str, Any]) -> None:
        """Write this prompt into the cache again when a cache alert fires for the feature, once per lifetime of it.

        Args:
            feature: whose alerts; those that are labelled `remedy="refresh_cache"` count too.
            client: a sync client of the SDK. What this costs is counted under the feature `refresh_cache`, whether or
                not the client carries the recorder's middleware.
            request: the arguments of `messages.create` with their `cache_control`; `max_tokens` is replaced by 0.

        Raises:
            ConfigurationError: the client is async, or the request asks for no caching.
        """
        if not self._prompts:
            self._add(REFRESH_CACHE, self._wants_refresh, self._refresh, None)
        self._prompts.setdefault(feature, []).append(Prompt(feature, client, request, self.recorder, self._clock))

    def open_breaker(self, *alertnames: str, seconds: float = 3600.0) -> None:
        """Open the Guard's breaker of an alert's feature, and close it when the alert is over.

        Args:
            alertnames: alerts that do it; with none, those that are labelled `remedy="open_breaker"` do.
            seconds: after which it closes although nobody said that the alert is over.

        Raises:
            ConfigurationError: there is no Guard, or it has no breaker of scope "feature".
        """
        breakers = Breakers(self._guard, seconds)

        def wants(alert: IncomingAlert) -> bool:
            return bool(alert.feature) and (alert.name in alertnames if alertnames else alert.remedy == OPEN_BREAKER)

        self._add(OPEN_BREAKER, wants, breakers.open, breakers.close)

    def on(self, *alertnames: str, remedy: str = "", undo: Action | None = None) -> Callable[[_A], _A]:
        """Decorate a function of yours: it is called when one of these alerts fires, `undo` when it is over.

        Args:
            alertnames: such as "AnthropicCacheMissWaste".
            remedy: alerts with this label `remedy` too.
            undo: gets the resolved alert.

        Raises:
            ConfigurationError: neither an alert nor a label is named.
        """
        if not (alertnames or remedy):
            raise ConfigurationError("remedies.on: name an alert, or a remedy=")

        def wants(alert: IncomingAlert) -> bool:
            return alert.name in alertnames or bool(remedy and alert.remedy == remedy)

        def register(action: _A) -> _A:
            self._add(getattr(action, "__name__", type(action).__name__), wants, action, undo)
            return action

        return register

    def _add(self, name: str, wants: Callable[[IncomingAlert], bool], apply: Action, undo: Action | None) -> None:
        with self._lock:
            self._remedies = (*self._remedies, _Remedy(name, wants, apply, undo))

    # -- how alerts come in

    def routes(self) -> tuple[Route, ...]:
        """The route `/alerts`, for `serve`.

        Raises:
            ConfigurationError: there is no token file.
        """
        if self._token is None:
            raise ConfigurationError("remedies take a webhook only with a token: give Remedies(token_file=...)")
        return (Route("/alerts", self._webhook, method="POST", max_body_bytes=MOST_BYTES, admit=self._token.admit),)

    def watch(self, *urls: str, every_seconds: float = 5.0) -> None:
        """Ask Alertmanager every few seconds for alerts with the label `remedy`. Call it after a fork.

        An alert that is gone is over, unless Alertmanager was restarted in the last two minutes, or does not answer.

        Args:
            urls: such as "http://alertmanager:9093"; several are one cluster, where what one of them knows is so.
            every_seconds: between two looks.

        Raises:
            ConfigurationError: there is no address, one is no http address, or it was called before.
        """
        if not urls:
            raise ConfigurationError("remedies.watch: give the address of Alertmanager")
        if self._watching:
            raise ConfigurationError("remedies.watch: call it once, with all addresses")
        sources = [Source(url) for url in urls]
        self._watching = True
        poller = Poller(sources, every_seconds, self._polled, lambda error: self._failed("remedies_poll", error))
        self._owned.callback(poller.close)

    def take(self, alerts: Iterable[IncomingAlert]) -> bool:
        """Act on alerts, each firing once. False where there was no room for some: send those again."""
        with self._lock:
            queued = [self._queue(alert) for alert in alerts if self._ledger.is_news(alert)]
        return all(queued)

    def _polled(self, look: Look) -> None:
        with self._lock:
            for alert in self._ledger.polled(look.active, complete=look.complete):
                self._queue(alert)

    def _webhook(self, request: Request) -> Answer:
        try:
            alerts = alertmanager.of_webhook(request.body)
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST, "the body is not what Alertmanager's webhook sends")
        if not self.take(alerts):
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many actions are waiting")
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    # -- how actions are done

    def _queue(self, alert: IncomingAlert) -> bool:
        """Have every remedy that wants it done on the remedies' own thread; none where there is no room for all."""
        wanting = [one for one in self._remedies if one.wants(alert) and (alert.status == FIRING or one.undo)]
        room = len(wanting) <= self._waiting.maxsize - self._waiting.qsize()  # the lock is held: nobody else adds
        for remedy in wanting:
            if room:
                self._start()
                self._waiting.put_nowait((remedy, alert))
            else:
                self._tell(remedy, alert, "dropped")
        if not room:
            self._ledger.forget(alert)
        return room

    def _start(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="anthropic-remedies", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            remedy, alert = item
            try:
                outcome = self._do(remedy, alert)
            except Exception as error:  # noqa: BLE001 - the error boundary
                self._failed("remedies", error)
                outcome = "failed"
            self._tell(remedy, alert, outcome)

    def _do(self, remedy: _Remedy, alert: IncomingAlert) -> str:
        if self._dry_run:
            return "dry_run"
        if alert.status == FIRING:
            return "skipped" if remedy.apply(alert) is False else "applied"
        return "skipped" if remedy.undo is None or remedy.undo(alert) is False else "undone"

    def _tell(self, remedy: _Remedy, alert: IncomingAlert, outcome: str) -> None:
        with contextlib.suppress(Exception):  # a strict recorder raises; this thread goes on
            self.recorder.count(f.REMEDY_ACTIONS, remedy.name, outcome)
        words = (remedy.name, outcome, alert.status, alert.name, alert.feature)
        _log.warning("remedy %s %s: %s %s feature=%s", *(ascii(word)[1:-1][:80] for word in words))

    def _failed(self, stage: str, error: Exception) -> None:
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

    def close(self) -> None:
        """Stop asking and acting; what waits is still done, for two seconds. Idempotent."""
        self._owned.close()
        worker = self._worker
        if worker is not None and worker.is_alive():
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=2.0)
            worker.join(2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
