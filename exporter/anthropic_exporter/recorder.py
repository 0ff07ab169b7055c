"""`Recorder`, the object that applications use: records calls, provides the SDK's middleware, and renders /metrics."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthropic_exporter.attribution import Attribution, current
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.forking import around
from anthropic_exporter.host.identity import is_copy
from anthropic_exporter.host.joining import join_family
from anthropic_exporter.kept_text import MOST_CHARS, kept, text_of
from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics.cells import SeriesSample, Snapshot
from anthropic_exporter.metrics.ledger import Ledger
from anthropic_exporter.metrics.renderer import Renderer
from anthropic_exporter.metrics.series_budget import DEFAULT_SERIES
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.recording.calls import call_of, reading_of_usage
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.recording.settings import Settings
from anthropic_exporter.recording.usages import key_of
from anthropic_exporter.wire.plain_answer import plain_usage

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry
    from typing_extensions import Self

    from anthropic_exporter.capture.middleware import Capture
    from anthropic_exporter.host.membership import Membership
    from anthropic_exporter.metrics.registry import ReadingsCollector

_ordinals = itertools.count()

#: Ten years: no call takes as long.
_MOST_SECONDS = 315_360_000

#: How long a thread waits for another one that makes the recorder of the same registry.
_MAKING_SECONDS = 10.0

_log = Log("anthropic_exporter")


class _Shared:
    """Stands for prometheus_client's own registry: only those who have one import that library."""

    def __repr__(self) -> str:
        return "prometheus_client.REGISTRY"


_SHARED: Any = _Shared()


class Recorder(Intake):
    """Counts and prices Claude calls, and exposes them to Prometheus.

    Recording never raises into the application and never waits: failures of the recorder are counted in
    `anthropic_exporter_record_errors_total` and logged once a minute. One recorder serves all threads and event loops.

    A registry has one recorder. `Recorder()` for a registry that already has one, as when a notebook cell is run
    again, returns that recorder: it keeps counting, uses the given `prices`, and adds the given `features`, `users` and
    `models`. Other settings do not change; if different ones are given, this is logged. If the registry was cleared,
    the recorder is registered again.

    Args:
        registry: the prometheus_client registry to join; None to join none.
        prices: a price file that overrides the shipped prices, read again when it changes; or a `PriceBook`.
        features: the only feature names that become label values; by default the first 100. Every other name is
            counted under `other`.
        users: the only user names that become label values; by default the first 200. List your largest customers,
            so that others do not take their places.
        models: models that the application will use: their series exist at 0 from the start, for each of `features`.
        max_series: maximum number of series, without `_created`. As it is approached, new label sets are folded into
            `other`, users first, then features; totals stay exact.
        strict: raise failures of the recorder, for tests.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: fewer than 3,000 series, a mistake in the price file, or a registry that already has other
            metrics with these names.
    """

    _making: SafeLock

    def __new__(cls, *, registry: CollectorRegistry | None = _SHARED, **_: Any) -> Self:
        """The recorder that the registry already has, or that another thread is making for it; else a new one."""
        made = super().__new__(cls)
        made._making = SafeLock()
        if registry is None:
            return made
        from anthropic_exporter.metrics.registry import owner_on, reserved  # noqa: PLC0415 - see `_Shared`

        joined = _joined(registry)
        shown = owner_on(joined)
        return shown if isinstance(shown, cls) else reserved(joined, made)

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        *,
        registry: CollectorRegistry | None = _SHARED,
        prices: str | Path | PriceBook | None = None,
        features: Iterable[str] | None = None,
        users: Iterable[str] | None = None,
        models: Iterable[str] = (),
        max_series: int = DEFAULT_SERIES,
        advise: bool = False,
        strict: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        asked = Settings(
            prices, _names(features), _names(users), _names(models) or (), max_series, advise, strict, clock
        )
        self._making.wait(this_frame(), _MAKING_SECONDS)
        try:
            joined = None if registry is None else _joined(registry)
            if hasattr(self, "_collector"):
                self._go_on(joined, asked)
            else:
                self._make(joined, asked)
        finally:
            self._making.release(this_frame())

    def _make(self, registry: CollectorRegistry | None, asked: Settings) -> None:
        #: The service whose processes share counters; None for a process that is alone.
        self.membership: Membership | None = None
        self._ordinal = next(_ordinals)
        self._must_share = False
        super().__init__(asked)
        collector: ReadingsCollector | None = None
        if registry is not None:
            from anthropic_exporter.metrics.registry import ReadingsCollector, register  # noqa: PLC0415 - see `_Shared`

            collector = ReadingsCollector(self.read, self)
            register(collector, registry)
        self._collector = collector
        around(self._about_to_fork, self._has_forked)
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ or is_copy():
            self._join()

    def _go_on(self, registry: CollectorRegistry | None, asked: Settings) -> None:
        stay = self.settings.not_followed(asked)
        but = f", except {', '.join(stay)}, which does not change" if stay else ""
        _log.warning("this registry already has a Recorder: it continues to count, with the settings given now%s", but)
        if registry is not None and self._collector is not None:
            from anthropic_exporter.metrics.registry import restore  # noqa: PLC0415 - see `_Shared`

            restore(self._collector, registry)
        self._continue(asked)

    def _join(self) -> None:
        """Count together with the processes that this one was forked from."""
        self._about_to_fork()

    def _about_to_fork(self) -> None:
        """Move the numbers to where the child finds them. Never waits: this thread may hold the lock."""
        if self.membership is None:
            self.membership = join_family(self, self._ordinal)
        self._has_forked()

    def _has_forked(self) -> None:
        if self.membership is not None:
            self._must_share = not self.membership.share(wait=False)

    def _forked(self) -> None:
        self.sharing = self.membership
        super()._forked()

    def _reset(self) -> None:
        super()._reset()
        self._renderer = Renderer()
        self._ledger = Ledger()

    def middleware(self) -> Capture:
        """Return the middleware for `Anthropic(middleware=[...])`; pass it last, so that it sees every HTTP attempt."""
        from anthropic_exporter.capture.middleware import Capture  # noqa: PLC0415 - the SDK is imported by those who use it

        return Capture(self)

    def record_usage(
        self,
        *,
        model: str,
        usage: Any,
        duration: float | None = None,
        feature: str | None = None,
        user: str | None = None,
    ) -> None:
        """Count one successful request that was not sent by an SDK client.

        Args:
            model: the model that served it.
            usage: the usage object of the Messages API, LangChain, pydantic-ai, LiteLLM, OpenAI-compatible gateways,
                Bedrock Converse, the Claude Agent SDK (`model_usage`) or the OpenTelemetry GenAI conventions, as a
                mapping or as the library's own object.
                Any other shape counts in `anthropic_exporter_unmetered_responses_total`.
            duration: duration in seconds; an invalid value is ignored and counted as a failure.
            feature: as in `attribution`; by default that of the current block.
            user: as in `attribution`; by default that of the current block.
        """
        try:
            seconds, now, where = _seconds(duration), self._clock(), _where(feature, user)
            at = now - (seconds or 0.0)
            is_odd = duration is not None and seconds is None
            plain = None if is_odd or type(model) is not str or len(model) > MOST_CHARS else plain_usage(usage, model)
            if plain is not None:
                key = key_of(plain, where)
                entry = (self.usages.write, key, plain[1], where, at, now, seconds)
                self.write_later(entry, is_known=key in self.lines)
                return
            reading = reading_of_usage(usage, model if isinstance(model, str) else "")
            self.malformed("usage", (*reading.malformed, *(("duration",) if is_odd else ())))
            self.record(call_of(reading, where, at, duration_seconds=seconds))
        except Exception as error:  # noqa: BLE001 - the error boundary
            self.failed("usage", error)
            self.drain()

    def snapshot(self) -> Snapshot:
        """Every series of all processes that count together, as of now."""
        if self._must_share and self.membership is not None:
            self._must_share = not self.membership.share()
        return super().snapshot()

    def read(self) -> dict[str, list[SeriesSample]]:
        """Every series, by family name, as of now."""
        return self._shown().readings()

    def render(self, *, openmetrics: bool = False) -> bytes:
        """Return the whole exposition, as /metrics serves it."""
        snapshot = self._shown()
        return self._renderer.openmetrics(snapshot) if openmetrics else self._renderer.text(snapshot)

    def _shown(self) -> Snapshot:
        snapshot = self.snapshot()
        life = self.life if self.membership is None else self.membership.life(self.life)
        ledger = self._ledger.readings(snapshot, life, self._clock())
        return snapshot._replace(gauges={**snapshot.gauges, **ledger})


def _joined(registry: CollectorRegistry) -> CollectorRegistry:
    """The registry that was asked for: another one, or prometheus_client's own."""
    if registry is not _SHARED:
        return registry
    from prometheus_client.registry import REGISTRY  # noqa: PLC0415 - see `_Shared`

    return REGISTRY


def _names(names: Iterable[str] | None) -> tuple[str, ...] | None:
    """Names of an allow-list as text; a single text is one name, not its letters."""
    if names is None:
        return None
    try:
        return tuple(map(text_of, (names,) if isinstance(names, str) else names))
    except TypeError as error:
        raise ConfigurationError(f"Recorder: expected a list of names, not {type(names).__name__}") from error


def _where(feature: Any, user: Any) -> Attribution:
    """Who a call is for: the running block, or the names that are given."""
    where = current()
    if feature is None and user is None:
        return where
    return Attribution(
        where.feature if feature is None else kept(text_of(feature)),
        where.user if user is None else kept(text_of(user)),
        where.task,
    )


_NUMBERS = (int, float)


def _seconds(duration: Any) -> float | None:
    """A duration that can be counted; None for any other value."""
    is_number = isinstance(duration, _NUMBERS) and not isinstance(duration, bool)
    return float(duration) if is_number and 0 <= duration <= _MOST_SECONDS else None
