"""`anthropic-exporter backtest`."""

from __future__ import annotations

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
@history.json_option
def backtest(**options: Any) -> int:
    """Show which alerts would have fired on your own history, for how long, and the cost until each one fired.

    Evaluates the rules exactly as Prometheus does, evaluation by evaluation, in a Prometheus of its own. Exit codes:
    0 no alert of severity warning or critical, 1 at least one, 2 the evaluation failed.
    """
    start, end = history.span(options["last"], options["until"], 60)
    if len(options["thresholds"]) > _MOST_SETS:
        raise ConfigurationError("backtest: give --thresholds once or twice")
    with raising():
        sets = _evaluated(options, start, end)
    _print(sets, (start, end), as_json=options["as_json"])
    return 1 if any(one.firing.severity in ("warning", "critical") for fired in sets.values() for one in fired) else 0


def _evaluated(options: dict[str, Any], start: int, end: int) -> Sets:
    from anthropic_exporter.tuning.backtest import backtest as tested  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.tuning.backtest import rules  # noqa: PLC0415 - as above

    source = history.connect(options["prometheus_url"], options["prometheus_token_file"])
    folder = options["folder"] or _here(Path("prometheus") / "rules") or bundle.path("prometheus") / "rules"
    begin = start - history.duration(options["lead"])
    named = {str(path): path for path in options["thresholds"]} or {"thresholds.yml": None}
    sets = {}
    for name, path in named.items():
        plan = tested.Plan(rules.read(folder, path), begin, start, end)
        with history.progress(f"Evaluating with {name}", end - begin) as advance:
            sets[name] = tested.backtest(source, plan, advance)
    return sets


def _here(folder: Path) -> Path | None:
    return folder if any(folder.glob("*.yml")) else None


def _print(sets: Sets, span: tuple[int, int], *, as_json: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.tuning.backtest import show  # noqa: PLC0415 - as above

    if as_json:
        history.print_json(show.as_json(sets, *span))
    else:
        Console().print(show.table(sets, *span))
