"""`anthropic-exporter export`."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthropic_exporter.commands.signals import raising

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthropic_exporter.export import FileOutcome
    from anthropic_exporter.rules import Fit

_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s?)?")
#: The largest offset in use is +14:00 (Line Islands), the smallest -12:00 (Baker Island).
_OFFSETS = range(-12 * 60, 14 * 60 + 1)
_NEXT = {
    "rules": (
        "add {out}/rules/*.yml to rule_files, and {out}/prometheus/scrape_config.yml to scrape_configs",
        "add {out}/alertmanager/route.yml to your routing; import {out}/dashboards/claude-cost.json into Grafana",
        "anthropic-exporter check --prometheus {out}, then reload Prometheus",
    ),
    "prometheus-rule": (
        "label your pods anthropic-exporter=true and name their port anthropic; edit the receivers' addresses",
        "kubectl apply -f {out}/rules -f {out}/podmonitor.yml (or servicemonitor.yml) -f {out}/alertmanagerconfig.yml",
        "import {out}/dashboards/claude-cost.json into Grafana",
    ),
    "mimir": (
        "mimirtool rules load {out}/rules/*.yml",
        "add {out}/alertmanager/route.yml to your routing; import {out}/dashboards/claude-cost.json into Grafana",
    ),
    "vmalert": (
        "vmalert -dryRun -rule='{out}/rules/*.yml'",
        "add {out}/victoriametrics/scrape_config.yml to the file of -promscrape.config",
        "start vmalert with -rule='{out}/rules/*.yml' and the flags of docs/existing-prometheus.md",
        "add {out}/alertmanager/route.yml to your routing; import {out}/dashboards/claude-cost.json into Grafana",
    ),
}


def _seconds(_: click.Context, __: click.Parameter, value: str) -> int:
    """Whole seconds of `15`, `15s`, `1m` or `1m30s`."""
    found = _DURATION.fullmatch(value)
    if not found or not value:
        raise click.BadParameter(f"{value!r} is not a duration such as 15s or 1m")
    hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _minutes(_: click.Context, __: click.Parameter, value: str) -> int:
    """Minutes of `+2`, `-5` or `+5:30`."""
    found = re.fullmatch(r"([+-]?)(\d{1,2})(?::([0-5]\d))?", value)
    minutes = int(found[2]) * 60 + int(found[3] or 0) if found else 0
    signed = -minutes if found and found[1] == "-" else minutes
    if not found or signed not in _OFFSETS:
        raise click.BadParameter(f"{value!r} is not an offset such as +2 or -5:30, from -12 to +14")
    return signed


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option(
    "--scrape-interval",
    default="5s",
    show_default=True,
    callback=_seconds,
    help="Interval of your scrape job, 5s to 60s.",
)
@click.option("--job", help="Regular expression of your scrape jobs. Default: those of the shipped configuration.")
@click.option("--dashboard-url", help="Address of the imported dashboard, for links in alerts.")
@click.option("--runbook-url", help="URL of the folder of runbooks, for links in alerts; ALERT.md is appended.")
@click.option("--keep-label", multiple=True, metavar="LABEL", help="Keep this label of targets, such as namespace.")
@click.option(
    "--utc-offset", default="0", callback=_minutes, help="Offset of the budget's day from UTC, such as -5:30."
)
@click.option("--without", multiple=True, metavar="FILE", help="Omit a rule file, such as meter; repeatable.")
@click.option(
    "--format", "form", default="rules", show_default=True, type=click.Choice(tuple(_NEXT)), help="Kind of rule files."
)
def export(out: Path, form: str, **options: Any) -> int:
    """Write rules, routing and dashboard for a Prometheus that you already run.

    Windows, `for` and guards follow the scrape interval. Files that exist are replaced, except edited thresholds:
    those are kept, and the new ones are written beside them.
    """
    from anthropic_exporter import export as exporting  # noqa: PLC0415 - imported when the command runs

    fit = _fit(form, options)
    with raising():
        files = exporting.files(fit)
        with click.progressbar(length=len(files), label=f"writing {out}") as bar:
            outcomes = exporting.write(files, out, lambda: bar.update(1))
        missing = exporting.left_out(fit)
    _summarise(outcomes, exporting.left_over(files, out), fit, out, missing)
    return 0


def _fit(form: str, options: dict[str, Any]) -> Fit:
    from anthropic_exporter.rules import Fit  # noqa: PLC0415 - imported when the command runs

    named = {key: options[key] for key in ("job", "dashboard_url", "runbook_url") if options[key] is not None}
    return Fit(
        scrape_interval=options["scrape_interval"],
        keep_labels=tuple(options["keep_label"]),
        utc_offset_minutes=options["utc_offset"],
        without=tuple(options["without"]),
        format=form,
        **named,
    )


def _summarise(
    outcomes: Sequence[FileOutcome], others: Sequence[Path], fit: Fit, out: Path, missing: Sequence[str]
) -> None:
    for outcome in outcomes:
        if outcome.what == "kept":
            click.echo(
                f"kept      {outcome.path}: it was edited, or is of another version; the new one is {outcome.beside}"
            )
        else:
            click.echo(f"{outcome.what:9} {outcome.path}")
    for path in others:
        click.echo(
            f"not ours  {path}: is not part of this export; rules/*.yml loads it, so remove it unless it is yours"
        )
    if missing:
        listed = textwrap.fill(", ".join(missing), 110, initial_indent="left out  ", subsequent_indent=" " * 10)
        click.echo(f"{listed}\n{' ' * 10}docs/existing-prometheus.md says why")
    click.echo("next:")
    for number, line in enumerate(_NEXT[fit.format], start=1):
        click.echo(f"  {number}. {line.format(out=out)}")
