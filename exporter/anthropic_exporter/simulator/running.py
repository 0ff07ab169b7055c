"""The sample application until stopped: a fake API, traffic, /metrics, and an incident from time to time."""

from __future__ import annotations

import contextlib
import logging
import random
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.publisher import publish
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.serving import serve_alone
from anthropic_exporter.simulator import fake_api
from anthropic_exporter.simulator.traffic import Application
from anthropic_exporter.simulator.workload import INCIDENTS, WORKLOAD

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from anthropic_exporter.simulator.workload import Incident

_log = logging.getLogger("anthropic_exporter.simulator")
_PATIENCE_SECONDS = 0.2


class Episode(NamedTuple):
    """A calm phase and the incident that follows; times are seconds."""

    calm: float
    incident: Incident
    lasts: float


def episodes(seed: int, every: float) -> Iterator[Episode]:
    """Endless episodes of about `every` seconds, two thirds of each calm; reproducible by seed."""
    chance = random.Random(seed)  # noqa: S311 -- a simulation, repeatable on purpose
    while True:
        whole = chance.uniform(0.7, 1.3) * every
        yield Episode(whole * 2 / 3, chance.choice(INCIDENTS), whole / 3)


class Queue(NamedTuple):
    """The queue that the application publishes its counters to, and the name of its service."""

    url: str
    service: str


def simulate(host: str, port: int, seed: int, every: float, stop: threading.Event, queue: Queue | None = None) -> None:
    """Run until stopped. The fake API listens on loopback only, regardless of the address of /metrics.

    Raises:
        ConfigurationError: the address of /metrics is taken or wrong, or the queue's URL is.
    """
    recorder = Recorder(registry=None, features=[feature.name for feature in WORKLOAD.features])
    with contextlib.ExitStack() as owned:
        server = owned.enter_context(serve_alone(recorder, host=host, port=port))
        if queue is not None:
            owned.enter_context(publish(recorder, queue.url, service=queue.service))
        api = owned.enter_context(fake_api.start(fake_api.Behaviour(seed=seed, remembered=0)))
        application = Application(recorder, api.base_url, seed=seed).start()
        owned.callback(application.close, _PATIENCE_SECONDS)
        _log.info("serving %s/metrics of a simulated application; an incident about every %.0f s", server.url, every)
        for episode in episodes(seed, every):
            if stop.wait(episode.calm):
                return
            _log.info("incident: %s (%s), for %.0f s", episode.incident.name, episode.incident.cause, episode.lasts)
            application.deploy(episode.incident)
            if stop.wait(episode.lasts):
                return
            _log.info("repaired")
            application.deploy(None)
