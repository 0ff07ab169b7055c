"""`anthropic-exporter demo`."""

from __future__ import annotations

from typing import Any

import click

from anthropic_exporter.commands.options import FiniteRange
from anthropic_exporter.commands.signals import raising


@click.command()
@click.option("--calm", default=25.0, show_default=True, type=FiniteRange(0), help="Seconds before the incident.")
@click.option(
    "--requests", default=1000, show_default=True, type=click.IntRange(1, 10_000), help="Requests without a cache."
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@click.option(
    "--plain", is_flag=True, help="Print timed lines instead of the live view; the default without a terminal."
)
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port of /metrics; 0, the default, selects a free one."
)
@click.option("--seed", default=1, show_default=True, help="The same seed produces the same requests.")
@click.option(
    "--live", is_flag=True, help="Make a few real calls instead, with ANTHROPIC_API_KEY, on the cheapest model."
)
@click.option("--max-usd", default=0.05, show_default=True, type=FiniteRange(0), help="With --live: the hard limit.")
@click.option("--base-url", default="", help="With --live: base URL of another API.")
def demo(*, live: bool, max_usd: float, base_url: str, **options: Any) -> int:
    """Play a lost prompt cache in two minutes: its dollars, the alert and a notification.

    A sample application calls a fake API on this machine through the real SDK; Prometheus and Alertmanager run with
    the shipped rules. No key is needed and nothing leaves this machine.
    """
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.demo import runner  # noqa: PLC0415 - imported when the command runs

    with raising():
        if live:
            from anthropic_exporter.demo import live as real  # noqa: PLC0415 - imported when the command runs

            return real.run(real.LiveOptions(max_usd, base_url, options["port"]), Console())
        return runner.run(runner.DemoOptions(**options), Console())
