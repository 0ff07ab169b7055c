"""The gate: decides whether a request may be sent, and which one is sent in its place."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import Task
from anthropic_exporter.errors import SpendLimitExceeded
from anthropic_exporter.guard.anomalies import against
from anthropic_exporter.guard.breaker import BLOCK, DEGRADE, OBSERVE, Breaker, Labels
from anthropic_exporter.guard.clock import GuardClock
from anthropic_exporter.guard.judge import Judge
from anthropic_exporter.guard.measuring.tasks import Tasks
from anthropic_exporter.guard.service.part import ServicePart
from anthropic_exporter.guard.ticker import Ticker
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.wire.request import model_of

_deciding: ContextVar[bool] = ContextVar("anthropic_exporter_guard_deciding", default=False)


class Gate:
    """Called before each request of the SDK is sent.

    Args:
        recorder: counts stopped requests, and knows the labels of a request.
        judge: knows which breakers are open.
        clock: the Guard's time.
        tasks: counts the requests of each task.
        ticker: started by the first request.
    """

    def __init__(self, recorder: Recorder, judge: Judge, clock: GuardClock, tasks: Tasks, ticker: Ticker) -> None:
        self._recorder = recorder
        self._judge = judge
        self._clock = clock
        self._tasks = tasks
        self._ticker = ticker
        #: The conditions of other processes of the service.
        self.service: ServicePart | None = None

    def admit(self, request: Any, where: Attribution) -> Any:
        """The request to send.

        Raises:
            SpendLimitExceeded: no request may be sent.
        """
        if self._ticker.waiting:
            self._ticker.start()
        if self.service is not None and self.service.is_news():
            self._catch_up(self.service)
        if where.task is not None and not _deciding.get():
            request = self._admit_task(request, where.feature, where.task)
        if self._judge.shut and not _deciding.get():
            request = self._admit_by_breakers(request, where.feature)
        return request

    def _catch_up(self, service: ServicePart) -> None:
        try:
            service.catch_up()
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._recorder.failed("guard", error)

    def _admit_by_breakers(self, request: Any, named_feature: str) -> Any:
        labels = self._labels(model_of(request), named_feature)
        at = self._clock.moment()
        for breaker in self._judge.breakers:
            with self._judge.lock:
                error = self._judge.stops(breaker, labels, at)
            if error is not None:
                request = self._stop(breaker, request, labels.feature, error)
        return request

    def _labels(self, model: str, named_feature: str) -> Labels:
        shown_model, feature = self._recorder.place_of(model, named_feature)
        return Labels(feature, shown_model, named_feature)

    def _admit_task(self, request: Any, named_feature: str, task: Task) -> Any:
        labels = self._labels("", named_feature)
        at = self._clock.moment()
        with self._judge.lock:
            beyond = self._tasks.asks(task, labels.feature, at.now, again=request.retries_taken > 0)
            if beyond is None:
                return request
            self._judge.take(beyond, at)
            news = self._judge.news(at)
        self._judge.send(news)
        reason = (beyond.condition.key, against(beyond), beyond.condition.window)
        return self._stop_task(request, labels, SpendLimitExceeded("task", task.name, *reason, None))

    def _stop_task(self, request: Any, labels: Labels, error: SpendLimitExceeded) -> Any:
        breakers = [one for one in self._judge.breakers if one.for_tasks]
        if not breakers:
            self._recorder.count(f.GUARD_BLOCKED, labels.feature, error.reason, OBSERVE)
        for breaker in breakers:
            if not breaker.exempts(labels):
                request = self._stop(breaker, request, labels.feature, error)
        return request

    def _stop(self, breaker: Breaker, request: Any, feature: str, error: SpendLimitExceeded) -> Any:
        self._recorder.count(f.GUARD_BLOCKED, feature, error.reason, breaker.action)
        if breaker.action == BLOCK:
            raise error
        return self._degraded(breaker, request) if breaker.action == DEGRADE else request

    def _degraded(self, breaker: Breaker, request: Any) -> Any:
        """The request that the application sends instead. Its calls to the client meanwhile are never stopped."""
        token = _deciding.set(True)
        try:
            changed = breaker.degrade(request) if breaker.degrade is not None else request
            if not isinstance(changed, type(request)):
                raise TypeError("degrade() returned no request")  # noqa: TRY301 - counted like any of its failures
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._recorder.failed("degrade", error)
            return request
        else:
            return changed
        finally:
            _deciding.reset(token)
