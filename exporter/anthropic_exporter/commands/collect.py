"""`anthropic-exporter collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anthropic_exporter.commands.options import host_option, log_to_stdout
from anthropic_exporter.commands.signals import noticed


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    envvar="ANTHROPIC_EXPORTER_QUEUE",
    metavar="URL",
    help="The queue, as given to publish(): redis://, rediss://, nats:// or kafka://. To keep a password "
    "out of the list of processes, set ANTHROPIC_EXPORTER_QUEUE instead.",
)
@click.option(
    "--state",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of this collector: totals and position. A second collector on the same folder waits as its standby.",
)
@host_option
@click.option("--port", default=9465, show_default=True, type=click.IntRange(0, 65535), help="0 selects a free one.")
@click.option("--shard", default=0, show_default=True, help="Which stream to read, if the URL has shards=N.")
@click.option(
    "--guard",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="THRESHOLDS",
    help="Evaluate rates and budgets of the whole fleet with the thresholds in this file, such as thresholds.yml "
    "of the rules, and publish the conditions that hold to processes that call guard.follow().",
)
@click.option("--live", is_flag=True, help="Also serve /live, a page that shows what the fleet is spending.")
@click.option("--web-config", type=click.Path(path_type=Path), help="As for `serve`: TLS, passwords and tokens.")
@click.option("--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="As for `serve`.")
def collect(source: str, state: Path, **options: Any) -> int:
    """Merge what the processes of many hosts publish, and serve it as one /metrics.

    SIGTERM saves the state and stops. After a crash it continues from the saved state; no counter decreases.
    """
    from anthropic_exporter.collector.running import CollectorOptions, run  # noqa: PLC0415 - imported when the command runs

    log_to_stdout()
    with noticed() as told:
        run(CollectorOptions(source, state, **options), told)
    return 0
