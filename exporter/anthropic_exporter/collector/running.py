"""Runs `anthropic-exporter collect`: waits for its folder, catches up, serves, and continues until stopped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from anthropic_exporter import serving
from anthropic_exporter.collector.breakers import MOST_MESSAGES, BreakersPublisher
from anthropic_exporter.collector.collector import Collector
from anthropic_exporter.collector.live_feed import FleetView, TotalsFeed
from anthropic_exporter.collector.state_file import CollectorFolder
from anthropic_exporter.collector.thresholds_file import ThresholdsFile
from anthropic_exporter.collector.watch import FleetWatch
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.live import Live
from anthropic_exporter.logs import Log
from anthropic_exporter.transport.address import Address, parse
from anthropic_exporter.transport.interface import Transport
from anthropic_exporter.transport.opening import open_transport
from anthropic_exporter.web.server import check_web_config

if TYPE_CHECKING:
    from anthropic_exporter.recorder import Recorder

_log = Log("anthropic_exporter.collect")
_STANDBY_LOOKS_EVERY_SECONDS = 0.25
#: If the queue is down when the collector starts, it serves the saved totals after this time.
CATCH_UP_SECONDS = 10.0


class CollectorOptions(NamedTuple):
    """The options, as they were given.

    Attributes:
        source: the URL of the queue.
        state: the folder of this collector.
        host: address to listen on.
        port: 0 picks a free one.
        shard: which stream to read, if the URL names several.
        guard: thresholds of the fleet's Guard; None for no Guard.
        live: whether to serve the live page of the fleet.
        web_config: TLS, passwords and tokens of /metrics, as `serve` has them.
        allowed_hosts: names by which clients reach /metrics, as `serve` has them.
    """

    source: str
    state: Path
    host: str = "127.0.0.1"
    port: int = 9465
    shard: int = 0
    guard: Path | None = None
    live: bool = False
    web_config: Path | None = None
    allowed_hosts: tuple[str, ...] = ()


def run(settings: CollectorOptions, stopped: threading.Event) -> None:
    """Collect until `stopped`.

    Raises:
        ConfigurationError: the URL, the folder, the state in it, the port, or the web configuration cannot be used.
    """
    address = parse(settings.source)
    if not 0 <= settings.shard < address.shards:
        raise ConfigurationError(
            f"collect: --shard {settings.shard}: the URL has shards={address.shards}; count from 0"
        )
    thresholds = None if settings.guard is None else ThresholdsFile(settings.guard)
    if settings.web_config is not None:  # a standby serves only when it takes over
        check_web_config(settings.web_config)
    with contextlib.closing(CollectorFolder(settings.state)) as folder:
        if _became_active(folder, stopped):
            source = f"{address.engine}/{address.stream_of(settings.shard)}"
            collector = Collector(folder, _opener(address, settings.shard), source=source)
            with contextlib.closing(collector), contextlib.ExitStack() as owned:
                watch = None if thresholds is None else _watch_of(collector, thresholds.limits)
                guard = _do_nothing
                if watch is not None and thresholds is not None:
                    breakers = _guarded(collector, watch, address, owned)
                    guard = _following(thresholds, collector, watch, breakers)
                _collect(collector, settings, stopped, watch, guard)


def _became_active(folder: CollectorFolder, stopped: threading.Event) -> bool:
    """Wait until no other collector has the folder; until then this one is its standby."""
    if folder.take():
        return True
    _log.info("standby: another collector uses the folder; this one takes over when that ends")
    while not stopped.wait(_STANDBY_LOOKS_EVERY_SECONDS):
        if folder.take():
            _log.warning("the other collector ended: taking over")
            return True
    return False


def _opener(address: Address, shard: int) -> Callable[[str], Transport]:
    return lambda position: open_transport(address, address.stream_of(shard), position=position)


def _watch_of(collector: Collector, limits: Limits) -> FleetWatch:
    watch = FleetWatch(collector.fleet, limits)
    try:
        watch.load(collector.restored_guard)
    except ValueError as error:
        raise ConfigurationError("collect: the day's spend in the state is damaged; move the state away") from error
    return watch


def _guarded(
    collector: Collector, watch: FleetWatch, address: Address, owned: contextlib.ExitStack
) -> Callable[[], None]:
    """Let the collector publish its Guard's conditions; returns what to call between two reads."""
    breakers = BreakersPublisher(
        watch=watch,
        lock=collector.lock,
        transport=open_transport(address, address.breakers, most_messages=MOST_MESSAGES),
        collector=collector.fleet.life.name,
        progress=collector.progress,
        failed=collector.failed,
    )
    owned.callback(breakers.close)

    def guard_state() -> dict[str, Any]:
        breakers.evaluate()  # the saved spend matches the saved totals
        return watch.dump()

    collector.guard_state = guard_state
    return breakers.tick


def _following(
    thresholds: ThresholdsFile, collector: Collector, watch: FleetWatch, breakers: Callable[[], None]
) -> Callable[[], None]:
    """What to call between two reads: takes an edit of the thresholds, then evaluates."""
    thresholds.broken = lambda: collector.progress.errors.update(thresholds=1)

    def tick() -> None:
        limits = thresholds.read_edit()
        if limits is not None:
            with collector.lock:
                watch.change(limits)
        breakers()

    return tick


def _do_nothing() -> None:
    """No Guard was asked for."""


def _collect(
    collector: Collector,
    settings: CollectorOptions,
    stopped: threading.Event,
    watch: FleetWatch | None,
    guard: Callable[[], None],
) -> None:
    collector.catch_up(CATCH_UP_SECONDS)
    feed = TotalsFeed(collector.fleet, collector.lock) if settings.live else None
    view = None if watch is None else FleetView(watch, collector.lock)
    recorder = cast("Recorder", collector)  # it renders, and counts what fails
    with serving.serve_alone(
        recorder,
        host=settings.host,
        port=settings.port,
        routes=() if feed is None else Live(feed, view).routes,
        web_config=settings.web_config,
        allowed_hosts=settings.allowed_hosts,
    ) as server:
        _log.info("serving %s/metrics", server.url)
        collector.run(stopped, guard if feed is None else lambda: _both(guard, feed.tick))


def _both(one: Callable[[], None], other: Callable[[], None]) -> None:
    one()
    other()
