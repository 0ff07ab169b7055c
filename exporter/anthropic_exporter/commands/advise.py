"""`anthropic-exporter advise`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from anthropic_exporter.commands import history
from anthropic_exporter.commands.options import FiniteRange
from anthropic_exporter.commands.signals import raising
from anthropic_exporter.errors import ConfigurationError


@click.command()
@history.prometheus_options
@history.span_options("7d")
@click.option("--prices", type=click.Path(path_type=Path), help="The price file that your recorders use, if any.")
@click.option(
    "--at-least",
    default=1.0,
    show_default=True,
    type=FiniteRange(0),
    metavar="USD",
    help="Omit advice that saves less than this a month.",
)
@click.option(
    "--waited-for",
    multiple=True,
    metavar="FEATURE",
    help="Users wait for the answers of this feature: do not suggest batches; repeatable.",
)
@history.json_option
def advise(**options: Any) -> int:
    """Suggest changes that save money, ranked by dollars a month, each with its formula and data.

    Reads recorded metrics. Most items need recorders with Recorder(advise=True). Exit codes: 0 nothing to change, 1
    there is advice, 2 the history could not be read.
    """
    from anthropic_exporter.pricing.book import PriceBook  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning.advice import items, usage  # noqa: PLC0415 - as above

    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    start, end = history.span(options["last"], options["until"], 1)
    book = PriceBook.load(options["prices"])
    with raising(), history.progress("Reading the recorded usage", 1.0) as advance:
        read = usage.read(source, start, end, advance)
    if not read.tokens:
        raise ConfigurationError("nothing was recorded in this period: give --last or --until")
    day = dt.datetime.fromtimestamp(end, dt.timezone.utc).date()
    found = items.items(read, book, day, options["at_least"], options["waited_for"])
    _print(found, read, items.unpriced(read, book, day), as_json=options["as_json"])
    return 1 if found else 0


def _print(found: Any, read: Any, unpriced: list[str], *, as_json: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.tuning.advice import show  # noqa: PLC0415 - as above

    if as_json:
        history.print_json(show.as_json(found, read, unpriced))
    else:
        Console().print(show.table(found, read, unpriced))
