"""`anthropic-exporter simulate`."""

from __future__ import annotations

import click

from anthropic_exporter.commands.options import FiniteRange, host_option, log_to_stdout, port_option
from anthropic_exporter.commands.signals import noticed


@click.command()
@host_option
@port_option
@click.option("--seed", default=1, show_default=True, help="The same seed produces the same requests and incidents.")
@click.option("--every", default=600.0, show_default=True, type=FiniteRange(1), help="Seconds between incidents.")
@click.option("--publish", "queue", metavar="URL", help="Publish to this queue too, for `collect`.")
@click.option("--service", default="sample", show_default=True, help="With --publish: the name of the service.")
def simulate(host: str, port: int, seed: int, every: float, queue: str | None, service: str) -> int:
    """Run a sample application against a fake API, with /metrics and occasional incidents.

    Used by the compose profiles `demo` and `fleet`, and to try dashboards. SIGTERM stops it at once.
    """
    from anthropic_exporter.simulator import running  # noqa: PLC0415 - imported when the command runs

    log_to_stdout()
    with noticed() as told:
        running.simulate(host, port, seed, every, told, None if queue is None else running.Queue(queue, service))
    return 0
