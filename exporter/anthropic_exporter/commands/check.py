"""`anthropic-exporter check`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthropic_exporter import bundle
from anthropic_exporter.commands.signals import raising

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE_SECONDS = 30.0


@click.command()
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path),
    help="Folder with prometheus.yml and rules, or with rules alone. Default: the one in the working folder, if any.",
)
@click.option(
    "--alertmanager",
    type=click.Path(path_type=Path),
    help="Folder with alertmanager.yml. Default: the one in the working folder, if any.",
)
@click.option("--url", metavar="URL", help="Check what this running Prometheus has loaded, instead of files.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with a bearer token for --url.")
@click.option("--prices", type=click.Path(path_type=Path), multiple=True, help="Your own price file; repeatable.")
def check(
    prometheus: Path | None,
    alertmanager: Path | None,
    url: str | None,
    token_file: Path | None,
    prices: tuple[Path, ...],
) -> int:
    """Check rules, thresholds, routing and prices before they are loaded, with promtool and amtool.

    Checks the bundle in the working folder if there is one, else the shipped one, and says which. With --url it asks a
    running Prometheus about scrape intervals, jobs, targets, thresholds and failing rules instead. Prints one line per
    finding, with file and line number. Exit codes: 0 no findings, 1 findings, 2 the check could not run.
    """
    if url is not None:
        return _running(url, token_file)
    from anthropic_exporter.bundle import checks  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.pricing import price_file  # noqa: PLC0415 - imported when the command runs

    rules = prometheus or _rules_here(Path()) or bundle.path("prometheus")
    routing = alertmanager or _routing_here(Path()) or bundle.path("alertmanager")
    books = (price_file.SHIPPED, *prices)
    with raising():
        found = [*checks.prometheus(rules), *checks.alertmanager(routing), *checks.prices(books)]
    return _reported(map(str, found), f"{_full(rules)}, {_full(routing)}, {', '.join(map(str, books))}")


def _running(url: str, token_file: Path | None) -> int:
    """Check what a running Prometheus has loaded."""
    from anthropic_exporter.history import loaded  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.history.prometheus_api import Prometheus  # noqa: PLC0415 - as above

    with raising():
        options = ("--url", "--token-file")
        server = Prometheus(url, token_file=token_file, timeout=_PATIENCE_SECONDS, options=options)
        found = loaded.findings(loaded.read(server, time.time()))
    return _reported(found, server.url)


def _reported(findings: Iterable[str], checked: str) -> int:
    found = list(findings)
    for finding in found:
        click.echo(finding)
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "no findings"
    click.echo(f"checked {checked}: {count}")
    return 1 if found else 0


def _rules_here(folder: Path) -> Path | None:
    """The rules in a working folder: a checkout's or an export's `prometheus/` or `rules/`, or the folder itself."""
    candidates = (folder / "prometheus", folder)
    return next((one for one in candidates if (one / "prometheus.yml").is_file() or any(one.glob("rules/*.yml"))), None)


def _routing_here(folder: Path) -> Path | None:
    candidates = (folder / "alertmanager", folder)
    return next((one for one in candidates if (one / "alertmanager.yml").is_file()), None)


def _full(folder: Path) -> Path:
    return folder if folder.is_absolute() else folder.resolve()
