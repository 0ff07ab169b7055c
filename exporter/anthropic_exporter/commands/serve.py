"""`anthropic-exporter serve`."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import click

from anthropic_exporter.commands.options import FiniteRange, host_option, log_to_stdout, port_option
from anthropic_exporter.commands.signals import noticed


@click.command()
@host_option
@port_option
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Accept alerts only with the bearer token in this file."
)
@click.option(
    "--refresh-cache",
    multiple=True,
    metavar="FEATURE=FILE",
    help="Remedy: write this prompt into the cache again when a cache alert of the feature fires. The file contains "
    "the arguments of messages.create as JSON.",
)
@click.option(
    "--remedies",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Your own remedies: a Python file that defines register(remedies).",
)
@click.option(
    "--alertmanager",
    "alertmanagers",
    multiple=True,
    metavar="URL",
    help="Poll this Alertmanager every 5 s for alerts with the label remedy, instead of or in addition to its webhook.",
)
@click.option("--dry-run", is_flag=True, help="Log and count the actions of remedies without doing them.")
@click.option(
    "--heartbeat-within",
    default=180.0,
    show_default=True,
    type=FiniteRange(1),
    help="Seconds without a heartbeat until it is considered lost: logs an error, and raises an alert for remedies.",
)
@click.option(
    "--web-config",
    type=click.Path(path_type=Path),
    help="TLS, client certificates, passwords and tokens for every path: a web configuration file as Prometheus' "
    "exporter-toolkit reads it.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A host name, without a port, by which clients reach this server; repeatable. Other names are rejected.",
)
def serve(host: str, port: int, web_config: Path | None, allowed_hosts: tuple[str, ...], **options: Any) -> int:
    """Run the standalone exporter: its own /metrics, a receiver for Alertmanager's webhook, and the runbooks as pages.

    Alerts sent to POST /alerts are counted and logged, heartbeats to POST /heartbeat are tracked. Remedies can act on
    alerts. /runbooks and /docs are the manual. SIGTERM stops it at once.
    """
    from anthropic_exporter import Recorder, serving  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.standalone import exporter, manual  # noqa: PLC0415 - imported when the command runs

    log_to_stdout()
    recorder = Recorder(registry=None)
    with noticed() as told, contextlib.ExitStack() as owned:
        routes = (*exporter.routes(recorder, exporter.ExporterOptions(**options), owned), *manual.routes())
        server = serving.serve_alone(
            recorder, host=host, port=port, routes=routes, web_config=web_config, allowed_hosts=allowed_hosts
        )
        running = owned.enter_context(server)
        logging.getLogger("anthropic_exporter").info("serving %s/metrics", running.url)
        told.wait()
    return 0
