"""`anthropic-exporter backtest`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthropic_exporter import bundle
from anthropic_exporter.commands import history
from anthropic_exporter.commands.signals import raising
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.tuning.backtest.show import Sets

_MOST_SETS = 2
_DAY_SECONDS = 86_400
_SHORT_LEAD = (
    "With --lead {lead}, budgets count only from then on, and spikes are not compared with yesterday: use 1d for both."
)


@click.command()
@history.prometheus_options
@history.span_options("1d")
@click.option(
    "--rules",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder with rules. Default: prometheus/rules in the working folder, else the shipped ones.",
)
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A thresholds.yml to use instead of the folder's. Given twice, both are shown side by side.",
)
@click.option(
    "--lead",
    default="1d",
    show_default=True,
    metavar="DURATION",
    help="How much history before the span to evaluate, for budgets and baselines.",
)
@click.option("--all", "with_quiet", is_flag=True, help="Also list alerts of severity info, which page nobody.")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Draw when each alert would have fired into this SVG file."
)
@history.json_option
def backtest(**options: Any) -> int:
    """Show which alerts would have fired on your own history, for how long, and the cost until each one fired.

    Evaluates the rules exactly as Prometheus does, evaluation by evaluation, in a Prometheus of its own. Exit codes:
    0 no alert of severity warning or critical, 1 at least one, 2 the evaluation failed.
    """
    start, end = history.span(options["last"], options["until"], 60)
    if len(options["thresholds"]) > _MOST_SETS:
        raise ConfigurationError("backtest: give --thresholds once or twice")
    history.check_written(options["picture"])
    with raising():
        sets = _evaluated(options, start, end)
    _print(sets, (start, end), options)
    if options["picture"] is not None:
        from anthropic_exporter.tuning import pictures  # noqa: PLC0415 - imported when the command runs
        from anthropic_exporter.tuning.backtest import picture  # noqa: PLC0415 - as above

        pictures.write(options["picture"], picture.firings(sets, start, end))
    return 1 if any(one.firing.severity in ("warning", "critical") for fired in sets.values() for one in fired) else 0


def _evaluated(options: dict[str, Any], start: int, end: int) -> Sets:
    from anthropic_exporter.tuning.backtest import backtest as tested  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning.backtest import rules  # noqa: PLC0415 - as above

    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    begin = start - history.duration(options["lead"], "--lead")
    if not tested.has_history(source, start, end):
        raise ConfigurationError("nothing was recorded in this period: give --last or --until")
    scrape = round(tested.scrape_seconds(source, end))
    with _rules(options["folder"], scrape) as folder:
        named = {str(path): path for path in options["thresholds"]} or {"thresholds.yml": None}
        found = {name: rules.read(folder, path) for name, path in named.items()}
    _check_fit(rules.scrape_seconds(next(iter(found.values()))), scrape)
    sets = {}
    for name, read in found.items():
        with history.progress(f"Evaluating with {name}", end - begin) as advance:
            sets[name] = tested.backtest(source, tested.Plan(read, begin, start, end), advance)
    return sets


@contextlib.contextmanager
def _rules(given: Path | None, scrape: int) -> Iterator[Path]:
    """The folder of rules: the one asked for, that of the working folder, or the shipped ones for these scrapes."""
    from anthropic_exporter import export  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.rules import Fit  # noqa: PLC0415 - as above
    from anthropic_exporter.rules.settings import SCRAPE_INTERVALS  # noqa: PLC0415 - as above

    known = given or _here(Path("prometheus") / "rules")
    with tempfile.TemporaryDirectory(prefix="anthropic-rules-") as folder:
        if known is None and scrape in SCRAPE_INTERVALS and scrape != Fit().scrape_interval:
            export.write(export.files(Fit(scrape_interval=scrape)), Path(folder))
            known = Path(folder) / "rules"
        yield known or bundle.path("prometheus") / "rules"


def _check_fit(expected: int | None, scrape: int) -> None:
    if expected not in (None, scrape):
        click.echo(
            f"These rules are for scrapes every {expected} s, but the processes are scraped every {scrape} s: write "
            f"matching rules with anthropic-exporter export --scrape-interval {scrape}s, and pass them with --rules.",
            err=True,
        )


def _here(folder: Path) -> Path | None:
    return folder if any(folder.glob("*.yml")) else None


def _print(sets: Sets, span: tuple[int, int], options: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.tuning.backtest import show  # noqa: PLC0415 - as above

    if options["as_json"]:
        history.print_json(show.as_json(sets, *span))
        return
    Console().print(show.table(sets, *span, with_quiet=options["with_quiet"]))
    if history.duration(options["lead"]) < _DAY_SECONDS:
        Console().print(_SHORT_LEAD.format(lead=options["lead"]), style="yellow", highlight=False)
