"""`anthropic-exporter review`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthropic_exporter.commands import history
from anthropic_exporter.commands.options import FiniteRange
from anthropic_exporter.commands.signals import raising
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.tuning.review import Review
    from anthropic_exporter.tuning.verdicts import Verdict


@click.command()
@history.prometheus_options
@history.span_options("7d")
@click.option(
    "--verdicts",
    type=click.Path(path_type=Path),
    default=Path("anthropic-verdicts.yml"),
    show_default=True,
    help="The team's file of verdicts; merges in git.",
)
@click.option(
    "--mark",
    "marks",
    nargs=2,
    multiple=True,
    metavar="ID true|false",
    help="Give a verdict on an alert; repeatable. The name of an alert marks all of its firings without a verdict.",
)
@click.option(
    "--missed", nargs=2, multiple=True, metavar="TIME FEATURE", help="Add an incident without an alert; repeatable."
)
@click.option("--all", "with_quiet", is_flag=True, help="Also list alerts of severity info, which page nobody.")
@click.option("--usd", type=FiniteRange(0, 1e9), help="With --missed: its cost in dollars.")
@click.option("--note", default="", help="With --mark or --missed: a few words.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write the review as one page, with dollars, charts and advice."
)
@click.option(
    "--reconcile",
    "bill",
    type=click.Path(path_type=Path),
    help="With --report: what reconcile --json printed, for the page.",
)
@click.option("--prices", type=click.Path(path_type=Path), help="With --report: the price file of your recorders.")
@history.json_option
def review(**options: Any) -> int:
    """List every alert that fired, with dollars, duration, time to detection, and your verdicts.

    From the verdicts: precision, missed incidents, the noisiest alerts, thresholds that would have been quieter.
    Exit codes: 0 every alert that paged has a verdict, 1 some have none, 2 the history could not be read.
    """
    if options["report"] is None and (options["bill"] or options["prices"]):
        raise ConfigurationError("review: --reconcile and --prices need --report")
    history.check_written(options["report"], options["verdicts"])
    with raising():
        found = _reviewed(options)
        if options["report"] is not None:
            _write_report(found, options)
    if options["as_json"]:
        from anthropic_exporter.tuning.review import as_json  # noqa: PLC0415 - imported when the command runs

        history.print_json(as_json(found))
    else:
        from rich.console import Console  # noqa: PLC0415 - imported when the command runs

        from anthropic_exporter.tuning import show_review  # noqa: PLC0415 - as above

        Console().print(show_review.table(found, with_quiet=options["with_quiet"]))
    return 1 if found.unjudged else 0


def _reviewed(options: dict[str, Any]) -> Review:
    from anthropic_exporter.tuning import firings, verdicts  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning.review import review as judge  # noqa: PLC0415 - as above

    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    start, end = history.span(options["last"], options["until"], 1)
    known = verdicts.read(options["verdicts"])
    with history.progress("Reading the alerts", end - start) as advance:
        found = firings.read(source, start, end, advance)
    changed = _changed(verdicts.apply(known, found, options["marks"], options["note"]), options)
    if changed != known:
        verdicts.write(options["verdicts"], changed)
    with history.progress("Measuring the time to detection", len(found) or 1) as advance:
        judged = judge(source, found, changed, (start, end), advance)
    if not (judged.reviewed or judged.evaluated_seconds):
        raise ConfigurationError(
            "no rules were evaluated in this period, so no alert can have fired: load them, or give --last or --until"
        )
    return judged


def _changed(found: dict[str, Verdict], options: dict[str, Any]) -> dict[str, Verdict]:
    """The verdicts, extended by the missed incidents."""
    from anthropic_exporter.tuning import verdicts  # noqa: PLC0415 - imported when the command runs

    if (options["usd"] is not None or options["note"]) and not (options["missed"] or options["marks"]):
        raise ConfigurationError("review: --usd and --note need --mark or --missed")
    for at, feature in options["missed"]:
        one = verdicts.missed(history.moment(at), feature, options["usd"], options["note"])
        found[one.id] = one
    return found


def _write_report(found: Review, options: dict[str, Any]) -> None:
    from anthropic_exporter.pricing.book import PriceBook  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning import pictures  # noqa: PLC0415 - as above
    from anthropic_exporter.tuning.advice import items, usage  # noqa: PLC0415 - as above
    from anthropic_exporter.tuning.report import bill, page, spend  # noqa: PLC0415 - as above

    billed = None if options["bill"] is None else bill.read(options["bill"])
    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    with history.progress("Reading the dollars", found.end - found.start) as advance:
        spent = spend.read(source, found.start, found.end, advance)
    with history.progress("Reading the recorded usage", 1.0) as advance:
        used = usage.read(source, found.start, found.end, advance)
    day = dt.datetime.fromtimestamp(found.end, dt.timezone.utc).date()
    book = PriceBook.load(options["prices"])
    advice, unpriced = items.items(used, book, day, 1.0), items.unpriced(used, book, day)
    pictures.write(options["report"], page.page(page.Report(found, spent, advice, used.is_watched, billed, unpriced)))
    click.echo(f"wrote {options['report']}", err=True)
