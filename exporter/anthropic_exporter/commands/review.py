"""`anthropic-exporter review`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthropic_exporter.commands import history
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
    "--mark", "marks", nargs=2, multiple=True, metavar="ID true|false", help="Give a verdict on an alert; repeatable."
)
@click.option(
    "--missed", nargs=2, multiple=True, metavar="TIME FEATURE", help="Add an incident without an alert; repeatable."
)
@click.option("--usd", type=float, help="With --missed: what it cost.")
@click.option("--note", default="", help="With --mark or --missed: a few words.")
@history.json_option
def review(**options: Any) -> int:
    """List every alert that fired, with dollars, duration, time to detection, and your verdicts.

    From the verdicts: precision, missed incidents, the noisiest alerts, thresholds that would have been quieter.
    Exit codes: 0 every alert has a verdict, 1 some have none, 2 it could not be read.
    """
    with raising():
        found = _reviewed(options)
    if options["as_json"]:
        from anthropic_exporter.tuning.review import as_json  # noqa: PLC0415 - imported when the command runs

        history.print_json(as_json(found))
    else:
        from rich.console import Console  # noqa: PLC0415 - imported when the command runs

        from anthropic_exporter.tuning import show_review  # noqa: PLC0415 - as above

        Console().print(show_review.table(found))
    return 0 if found.count("") == 0 else 1


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
    with history.progress("Measuring how they were noticed", len(found) or 1) as advance:
        return judge(source, found, changed, (start, end), advance)


def _changed(found: dict[str, Verdict], options: dict[str, Any]) -> dict[str, Verdict]:
    """The verdicts with the incidents that were missed."""
    from anthropic_exporter.tuning import verdicts  # noqa: PLC0415 - imported when the command runs

    if (options["usd"] is not None or options["note"]) and not (options["missed"] or options["marks"]):
        raise ConfigurationError("review: --usd and --note go with --mark or --missed")
    for at, feature in options["missed"]:
        one = verdicts.missed(history.moment(at), feature, options["usd"], options["note"])
        found[one.id] = one
    return found
