"""`anthropic-exporter calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthropic_exporter.commands import history
from anthropic_exporter.commands.options import FiniteRange
from anthropic_exporter.commands.signals import raising
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.history.prometheus_api import Prometheus
    from anthropic_exporter.tuning.calibrate import Calibration


@click.command()
@history.prometheus_options
@history.span_options("7d")
@click.option(
    "--pages",
    default=1.0,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="Accepted false pages a week, for all thresholds together.",
)
@click.option(
    "--method",
    default="tail",
    show_default=True,
    type=click.Choice(["tail", "ratio", "greatest"]),
    help="How thresholds are chosen; the table shows all.",
)
@click.option(
    "--for",
    "kinds",
    multiple=True,
    type=click.Choice(["cost", "request", "latency", "spike", "budget"]),
    help="Which thresholds: cost rates, single requests, latency, spikes, daily budgets; repeatable. Default: cost "
    "and request.",
)
@click.option(
    "--verdicts",
    type=click.Path(path_type=Path),
    default=Path("anthropic-verdicts.yml"),
    show_default=True,
    help="The file of verdicts: alerts judged true and missed incidents are excluded.",
)
@click.option(
    "--exclude", nargs=2, multiple=True, metavar="FROM TO", help="Exclude this period, as an incident; repeatable."
)
@click.option(
    "--write", "target", type=click.Path(path_type=Path), help="Write the thresholds into this thresholds.yml."
)
@click.option("--dry-run", is_flag=True, help="With --write: show what would change, and change nothing.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the history and thresholds into this SVG file.")
@history.json_option
def calibrate(**options: Any) -> int:
    """Choose thresholds for each feature and model from your own history, and show the false pages a week of each.

    Reads the series that the rules record. Incidents are excluded. Below 24 h of history nothing is written. Exit
    codes: 0 done, 1 there is too little history to write thresholds, 2 the history could not be read, or the file
    could not be written.
    """
    if options["dry_run"] and options["target"] is None:
        raise ConfigurationError("calibrate: --dry-run needs --write")
    history.check_written(options["picture"], options["target"])
    with raising():
        found = _calibrated(options)
    _print(found, options)
    if options["picture"] is not None:
        from anthropic_exporter.tuning import pictures  # noqa: PLC0415 - imported when the command runs

        pictures.write(options["picture"], pictures.calibration(found, options["method"]))
    return 0 if options["target"] is None else _write(found, options)


def _calibrated(options: dict[str, Any]) -> Calibration:
    from anthropic_exporter.tuning import calibrate as calibration  # noqa: PLC0415 - imported when the command runs

    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    start, end = history.span(options["last"], options["until"], 60)
    incidents = [_period(since, until) for since, until in options["exclude"]]
    kinds = options["kinds"] or calibration.DEFAULT_KINDS
    judged, unjudged = _alerts(source, (start, end), options["verdicts"], kinds)
    with history.progress("Reading the history", end - start) as advance:
        found = calibration.calibrate(source, (start, end), options["pages"], incidents + judged, kinds, advance)
    if not found.found:
        raise ConfigurationError("the rules recorded nothing in this period: load the rules, or give --last or --until")
    return found._replace(unjudged=unjudged)


def _period(since: str, until: str) -> tuple[float, float]:
    start, end = history.moment(since), history.moment(until)
    if end <= start:
        raise ConfigurationError(f"--exclude {since} {until}: ends before it begins")
    return start, end


def _alerts(
    source: Prometheus, span: tuple[float, float], path: Path, kinds: Sequence[str]
) -> tuple[list[tuple[float, float]], int]:
    """Start and end of the incidents by the team's verdicts, and how many alerts of these thresholds have none."""
    from anthropic_exporter.history import series  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning import firings, verdicts  # noqa: PLC0415 - as above

    known = verdicts.read(path)
    fired = firings.read(source, *span, with_cost=False)
    true = [one for one in fired if known.get(one.id, verdicts.NONE).verdict == verdicts.TRUE]
    missed = [one.seconds for one in known.values() if one.verdict == verdicts.MISSED]
    names = {judged.alert for judged in series.JUDGED if judged.kind in kinds}
    unjudged = sum(one.alert in names and one.id not in known for one in fired)
    return [(one.start, one.end) for one in true] + [(at, at) for at in missed], unjudged


def _print(found: Calibration, options: dict[str, Any]) -> None:
    if options["as_json"]:
        from anthropic_exporter.tuning.calibrate import as_json  # noqa: PLC0415 - imported when the command runs

        history.print_json(as_json(found, options["method"]))
        return
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.tuning import show_calibration  # noqa: PLC0415 - as above

    Console().print(show_calibration.table(found, options["method"]))


def _write(found: Calibration, options: dict[str, Any]) -> int:
    from anthropic_exporter.tuning import threshold_file, whole_file  # noqa: PLC0415 - imported when the command runs

    if not found.is_long_enough:
        click.echo("Nothing is written: there is less than a working day of history.", err=True)
        return 1
    chosen = [
        threshold_file.Override(one.judged.threshold, one.feature, one.model, one.choices[options["method"]].value)
        for one in found.found
        if one.is_known
    ]
    text = threshold_file.edited(options["target"], chosen)
    difference = threshold_file.difference(options["target"], text)
    click.echo(difference or f"{options['target']}: nothing to change", err=options["as_json"])
    if not options["dry_run"]:
        whole_file.write(options["target"], text)
    return 0
