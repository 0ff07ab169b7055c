"""The commands. What a command needs is imported when it runs: `--help` and `check` start at once."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

import click

from anthropic_exporter import bundle
from anthropic_exporter.__about__ import __version__
from anthropic_exporter.errors import AnthropicExporterError
from anthropic_exporter.stopping import Stopped, noticed, raising

_NAME = "anthropic-exporter"
_USAGE = 2
_INTERRUPTED = 130


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is one line: what is wrong and what to do."""
    try:
        return int(commands.main(arguments, prog_name=_NAME, standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else _NAME
        return _complain(f"{path}: {error.format_message()} (see {path} --help)")
    except AnthropicExporterError as error:
        return _complain(f"{_NAME}: {error}")
    except Stopped as stopped:
        return stopped.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED


def _complain(message: str) -> int:
    sys.stderr.write(f"{' '.join(message.split())}\n")
    return _USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """What your Claude calls cost, on /metrics. Exit codes: 0 done, 1 found or failed something, 2 wrong usage."""


@commands.command()
@click.option("--calm", default=25.0, show_default=True, type=click.FloatRange(0), help="Seconds before the incident.")
@click.option(
    "--requests", default=1000, show_default=True, type=click.IntRange(1, 10_000), help="Requests without a cache."
)
@click.option("--keep", is_flag=True, help="Leave everything up at the end, until Ctrl-C.")
@click.option("--plain", is_flag=True, help="Timed lines instead of the live view; without a terminal it is always so.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port of /metrics; 0, the default, is a free one."
)
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same requests.")
@click.option(
    "--live", is_flag=True, help="Instead: a handful of real calls with ANTHROPIC_API_KEY, on the cheapest model."
)
@click.option("--max-usd", default=0.05, show_default=True, type=click.FloatRange(0), help="With --live: the hard cap.")
@click.option("--base-url", default="", help="With --live: another address of the API.")
def demo(*, live: bool, max_usd: float, base_url: str, **options: Any) -> int:
    """Two minutes of the main job: a lost prompt cache becomes dollars, an alert and a notification.

    A sample application calls a fake API on this machine through the real SDK; Prometheus and Alertmanager run with
    the shipped rules. No key is needed and nothing leaves this machine.
    """
    from rich.console import Console  # noqa: PLC0415 - see the module

    from anthropic_exporter.demo import runner  # noqa: PLC0415 - see the module

    with raising():
        if live:
            from anthropic_exporter.demo import live as real  # noqa: PLC0415 - see the module

            return real.run(real.Settings(max_usd, base_url, options["port"]), Console())
        return runner.run(runner.Settings(**options), Console())


_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option("--port", default=9464, show_default=True, type=click.IntRange(0, 65535), help="0 is a free one.")


@commands.command()
@_host
@_port
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Take alerts only with the bearer token in this file."
)
@click.option(
    "--refresh-cache",
    multiple=True,
    metavar="FEATURE=FILE",
    help="Remedy: write this prompt into the cache again when a cache alert of the feature fires. The file holds the "
    "arguments of messages.create as JSON.",
)
@click.option(
    "--remedies",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Remedies of your own: a Python file that defines register(remedies).",
)
@click.option(
    "--alertmanager",
    "alertmanagers",
    multiple=True,
    metavar="URL",
    help="Ask this Alertmanager every 5 s for alerts with the label remedy, instead of or beside being told.",
)
@click.option("--dry-run", is_flag=True, help="Log and count what remedies would do, and do nothing.")
@click.option(
    "--heartbeat-within",
    default=180.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds after the last heartbeat at which it counts as lost: an error in the log, and an alert for remedies.",
)
def serve(host: str, port: int, **options: Any) -> int:
    """The standalone exporter: its own /metrics, and the receiver of Alertmanager's webhook.

    POST /alerts is counted and logged, POST /heartbeat is remembered; nothing else is done about an alert unless a
    remedy is given. SIGTERM ends it at once.
    """
    from anthropic_exporter import Recorder, server  # noqa: PLC0415 - see the module
    from anthropic_exporter.remedies import standalone  # noqa: PLC0415 - see the module

    _log_to_stdout()
    recorder = Recorder(registry=None)
    with noticed() as told, contextlib.ExitStack() as owned:
        routes = standalone.routes(recorder, standalone.Settings(**options), owned)
        running = owned.enter_context(server.serve(recorder, host=host, port=port, routes=routes))
        logging.getLogger("anthropic_exporter").info("serving %s/metrics", running.url)
        told.wait()
    return 0


@commands.command()
@_host
@_port
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same requests and incidents.")
@click.option("--every", default=600.0, show_default=True, type=click.FloatRange(1), help="Seconds between incidents.")
def simulate(host: str, port: int, seed: int, every: float) -> int:
    """A sample application against a fake API, with /metrics and an incident now and then.

    For the compose profile `demo`, and to look at dashboards. SIGTERM ends it at once.
    """
    from anthropic_exporter.simulator import running  # noqa: PLC0415 - see the module

    _log_to_stdout()
    with noticed() as told:
        running.simulate(host, port, seed, every, told)
    return 0


@commands.command()
@click.option(
    "--prometheus", type=click.Path(path_type=Path), help="Folder with prometheus.yml and rules; else the bundle's."
)
@click.option(
    "--alertmanager", type=click.Path(path_type=Path), help="Folder with alertmanager.yml; else the bundle's."
)
@click.option(
    "--prices", type=click.Path(path_type=Path), multiple=True, help="A price file of your own; may be repeated."
)
def check(prometheus: Path | None, alertmanager: Path | None, prices: tuple[Path, ...]) -> int:
    """Rules, thresholds, routing and prices, before they are live: promtool, amtool and our own eye.

    One line a finding, with file and line. Exit codes: 0 nothing found, 1 something, 2 it could not be looked at.
    """
    from anthropic_exporter import checks, price_file  # noqa: PLC0415 - see the module

    rules, routing = prometheus or bundle.path("prometheus"), alertmanager or bundle.path("alertmanager")
    books = (price_file.SHIPPED, *prices)
    with raising():
        found = [*checks.prometheus(rules), *checks.alertmanager(routing), *checks.prices(books)]
    for finding in found:
        click.echo(str(finding))
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "nothing found"
    click.echo(f"checked {rules}, {routing}, {', '.join(map(str, books))}: {count}")
    return 1 if found else 0


def _log_to_stdout() -> None:
    """Log lines are what a container shows; those of the HTTP client about each request are not."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "httpx2", "anthropic"):
        logging.getLogger(name).setLevel(logging.WARNING)
