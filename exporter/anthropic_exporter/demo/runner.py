"""Runs the story: fake API, sample application, /metrics, Prometheus, Alertmanager, and the incident in the middle."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthropic_exporter import bundle, stack, toolchain, yaml_with_lines
from anthropic_exporter.demo import closing
from anthropic_exporter.demo.ledger import CallLog
from anthropic_exporter.demo.plain import PlainOutput
from anthropic_exporter.demo.play import Play, Scene
from anthropic_exporter.demo.view import SMALLEST, Screen
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.serving import serve_alone
from anthropic_exporter.simulator import fake_api
from anthropic_exporter.simulator.traffic import Application
from anthropic_exporter.simulator.workload import CACHE_LOST, WORKLOAD, busy

if TYPE_CHECKING:
    from rich.console import Console

    from anthropic_exporter.stack import Stack
    from anthropic_exporter.web.server import Server

_TICK_SECONDS = 0.5
_PATIENCE_SECONDS = 2.0
#: With 25 s of calm, the busiest traffic that stays below the shipped 1,000,000 tokens a day before the incident.
_CHAT_PER_MINUTE = 36
_API_SPEED = 2.0
_THRESHOLD = "cost_usd_per_minute"
_NOTE = "Rules and thresholds are the shipped ones, byte for byte. Replace the daily budgets with your own."


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo: `calm` seconds, then `requests` without a cache. `port` of /metrics; 0 picks a free one."""

    calm: float = 25.0
    requests: int = 1000
    keep: bool = False
    plain: bool = False
    port: int = 0
    seed: int = 1


def run(settings: DemoOptions, console: Console) -> int:
    """Run the demo. Returns 1 if the notification did not arrive, 0 if it did or if no Prometheus is available.

    Raises:
        ConfigurationError: the port is taken.
    """
    workload = busy(WORKLOAD, _CHAT_PER_MINUTE)
    recorder = Recorder(registry=None, features=[feature.name for feature in workload.features])
    with contextlib.ExitStack() as owned:
        server = owned.enter_context(serve_alone(recorder, port=settings.port, live=True))
        api = owned.enter_context(fake_api.start(_behaviour(settings)))
        running, left_out = _stack(server, console, owned)
        began = time.monotonic()
        clock = lambda: time.monotonic() - began  # noqa: E731 - one clock for the ledger and the play
        ledger = CallLog(clock)
        recorder.subscribe(ledger)
        application = Application(recorder, api.base_url, workload=workload, seed=settings.seed).start()
        owned.callback(application.close, _PATIENCE_SECONDS)
        scene = Scene(
            settings.calm,
            settings.requests,
            CACHE_LOST,
            workload.features,
            _threshold(_THRESHOLD),
            _links(server, running),
            time.time(),
            left_out,
            "" if left_out else _NOTE,
        )
        heard = (lambda: running.receiver.notifications) if running else tuple
        play = Play(scene, application, ledger, heard, clock)
        _show(play, settings, console)
        closing.where_to_look(console, scene.links, kept=settings.keep)
        if settings.keep:
            play.repair()
            threading.Event().wait()
    return 0 if play.notification or left_out else 1


def _behaviour(settings: DemoOptions) -> fake_api.Behaviour:
    """Twice the real speed, and no memory of requests: a thousand of these prompts are 200 MB."""
    return fake_api.Behaviour(seed=settings.seed, speed=_API_SPEED, remembered=0)


def _show(play: Play, settings: DemoOptions, console: Console) -> None:
    with _screen(settings, console) as screen:
        while play.step():
            screen.show(play.picture())
            time.sleep(_TICK_SECONDS)
        screen.show(play.picture())
    closing.tell(console, play.ending())


def _screen(settings: DemoOptions, console: Console) -> Screen | PlainOutput:
    """The live view, or timed lines if the terminal cannot show it."""
    large = console.size.width >= SMALLEST.width and console.size.height >= SMALLEST.height
    utf8 = console.encoding.startswith("utf")
    live = console.is_terminal and not console.is_dumb_terminal and large and utf8 and not settings.plain
    return Screen(console) if live else PlainOutput(console)


def _stack(server: Server, console: Console, owned: contextlib.ExitStack) -> tuple[Stack | None, str]:
    """The running Prometheus and Alertmanager, or the reason why they do not run."""
    try:
        if not all(map(toolchain.find, ("prometheus", "alertmanager"))):
            console.print("Prometheus or Alertmanager is missing; unpacking them, once, from packages ...", style="dim")
        running = stack.start([f"127.0.0.1:{server.port}"])
    except ConfigurationError as error:
        return None, f"Prometheus, Alertmanager and the notification: {error}"
    return owned.enter_context(running), ""


def _links(server: Server, running: Stack | None) -> tuple[tuple[str, str], ...]:
    own = (("metrics", f"{server.url}/metrics"), ("live page", f"{server.url}/live"))
    if running is None:
        return own
    return ("Prometheus", running.prometheus_url), ("Alertmanager", running.alertmanager_url), *own


def _threshold(name: str) -> float:
    """The shipped default of a threshold, to draw it."""
    rules = yaml_with_lines.load(bundle.path("prometheus") / "rules/thresholds.yml")["groups"][0]["rules"]
    return next(float(rule["expr"]) for rule in rules if dict(rule["labels"]) == {"threshold": name})
