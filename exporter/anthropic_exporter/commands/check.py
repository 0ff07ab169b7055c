"""`anthropic-exporter check`."""

from __future__ import annotations

from pathlib import Path

import click

from anthropic_exporter import bundle
from anthropic_exporter.commands.signals import raising


@click.command()
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
    from anthropic_exporter.bundle import checks  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.pricing import price_file  # noqa: PLC0415 - imported when the command runs

    rules, routing = prometheus or bundle.path("prometheus"), alertmanager or bundle.path("alertmanager")
    books = (price_file.SHIPPED, *prices)
    with raising():
        found = [*checks.prometheus(rules), *checks.alertmanager(routing), *checks.prices(books)]
    for finding in found:
        click.echo(str(finding))
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "nothing found"
    click.echo(f"checked {rules}, {routing}, {', '.join(map(str, books))}: {count}")
    return 1 if found else 0
