"""`anthropic-exporter reconcile`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from anthropic_exporter.commands import history
from anthropic_exporter.commands.options import FiniteRange, host_option, log_to_stdout
from anthropic_exporter.commands.signals import noticed, raising
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic import Anthropic

    from anthropic_exporter.history.prometheus_api import Prometheus
    from anthropic_exporter.reconcile.analytics import Filters
    from anthropic_exporter.reconcile.compare import Comparison

_HOUR = 3_600
_KEYS = ("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_API_KEY")


@click.command()
@history.prometheus_options
@history.span_options("7d")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="File with the API key: scope read:analytics, or an Admin API key. Default: ANTHROPIC_ADMIN_KEY.",
)
@click.option("--workspace", "workspace_ids", multiple=True, metavar="ID", help="Only this workspace; repeatable.")
@click.option("--api-key-id", "api_key_ids", multiple=True, metavar="ID", help="Only this key's id; repeatable.")
@click.option("--product", "products", multiple=True, help="Only this product, such as messages_api; repeatable.")
@click.option(
    "--tolerance",
    default=0.01,
    show_default=True,
    type=FiniteRange(0, 1),
    help="Share of the billed amount that may differ.",
)
@click.option("--prices", type=click.Path(path_type=Path), help="The price file that your recorders use, if any.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a collector, or a copy of its state, instead of Prometheus; repeat for each shard.",
)
@click.option(
    "--since",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --state: an older copy of the same state. Compares what was counted between the two.",
)
@click.option("--by-hour", is_flag=True, help="Also show every hour.")
@history.json_option
@click.option("--watch", is_flag=True, help="Compare periodically, and serve anthropic_reconcile_* on /metrics.")
@click.option("--every", default="1h", show_default=True, metavar="DURATION", help="With --watch: how often.")
@click.option(
    "--lag", default="3h", show_default=True, metavar="DURATION", help="With --watch: exclude the newest hours."
)
@click.option(
    "--port", default=9466, show_default=True, type=click.IntRange(0, 65535), help="With --watch; 0 selects a free one."
)
@host_option
@click.option("--base-url", help="Base URL of another API.")
def reconcile(**options: Any) -> int:
    """Compare what was recorded with what Anthropic billed, and explain the difference.

    Compares tokens, then dollars at list price, by model, tier, token type and hour. The cause of a difference is
    shown: prices, unrecorded calls, other callers, batches in flight. Exit codes: 0 no drift,
    1 drift, 2 the comparison failed.
    """
    from anthropic_exporter.reconcile import analytics  # noqa: PLC0415 - imported when the command runs

    _check(options)
    filters = analytics.Filters(options["workspace_ids"], options["api_key_ids"], options["products"])
    api = analytics.client(_key(options["key_file"]), options["base_url"])
    if options["watch"]:
        return _watch(_prometheus(options), api, filters, options)
    with raising():
        found = (_collected if options["states"] else _compared)(api, filters, options)
    _print(found, as_json=options["as_json"], by_hour=options["by_hour"])
    return 1 if found.has_drift else 0


def _key(path: Path | None) -> str:
    from anthropic_exporter.history.prometheus_api import read_secret  # noqa: PLC0415 - imported when the command runs

    if path is not None:
        return read_secret(path)
    found = next((os.environ[name] for name in _KEYS if os.environ.get(name)), "")
    if not found:
        raise ConfigurationError("reconcile: no API key: give --key-file or set ANTHROPIC_ADMIN_KEY")
    return found


def _check(options: dict[str, Any]) -> None:
    if options["since"] and not options["states"]:
        raise ConfigurationError("reconcile: --since needs --state")
    given = click.get_current_context().get_parameter_source
    for name, option in (("last", "--last"), ("until", "--until"), ("by_hour", "--by-hour"), ("watch", "--watch")):
        if options["states"] and given(name) is not ParameterSource.DEFAULT:
            raise ConfigurationError(
                f"reconcile: {option} needs Prometheus: a collector's state has totals, no history"
            )


def _prometheus(options: dict[str, Any]) -> Prometheus:
    return history.connect(options["prometheus_url"], options["prometheus_token_file"])


def _collected(api: Anthropic, filters: Filters, options: dict[str, Any]) -> Comparison:
    from anthropic_exporter.pricing.book import PriceBook  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.reconcile import collected  # noqa: PLC0415 - as above
    from anthropic_exporter.reconcile.compare import Tolerances  # noqa: PLC0415 - as above
    from anthropic_exporter.reconcile.reading import compare_collected  # noqa: PLC0415 - as above

    book = PriceBook.load(options["prices"])
    ours = collected.read(options["states"], options["since"], book)
    with history.progress("Reading the bill", ours.end - ours.start) as advance:
        return compare_collected(ours, api, book, filters, Tolerances(ratio=options["tolerance"]), advance)


def _compared(api: Anthropic, filters: Filters, options: dict[str, Any]) -> Comparison:
    from anthropic_exporter.pricing.book import PriceBook  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.reconcile.compare import Tolerances  # noqa: PLC0415 - as above
    from anthropic_exporter.reconcile.reading import read_and_compare  # noqa: PLC0415 - as above

    start, end = history.span(options["last"], options["until"], _HOUR)
    book = PriceBook.load(options["prices"])
    with history.progress("Reading records and bill", 3 * (end - start)) as advance:
        return read_and_compare(
            _prometheus(options), api, (start, end), book, filters, Tolerances(ratio=options["tolerance"]), advance
        )


def _print(found: Comparison, *, as_json: bool, by_hour: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs

    from anthropic_exporter.reconcile import show  # noqa: PLC0415 - imported when the command runs

    if as_json:
        history.print_json(show.as_json(found))
    else:
        show.show(found, Console(), with_hours=by_hour)


def _watch(source: Prometheus, api: Anthropic, filters: Filters, options: dict[str, Any]) -> int:
    from anthropic_exporter.pricing.book import PriceBook  # noqa: PLC0415 - imported when the command runs
    from anthropic_exporter.reconcile import watch  # noqa: PLC0415 - as above
    from anthropic_exporter.reconcile.compare import Tolerances  # noqa: PLC0415 - as above

    log_to_stdout()
    lengths = [history.duration(options[name], f"--{name}") for name in ("last", "lag", "every")]
    book, limits = PriceBook.load(options["prices"]), Tolerances(ratio=options["tolerance"])
    with noticed() as stop:
        watch.run(
            watch.Sources(source, api, book, filters, limits),
            watch.Schedule(*lengths),
            options["host"],
            options["port"],
            stop,
        )
    return 0
