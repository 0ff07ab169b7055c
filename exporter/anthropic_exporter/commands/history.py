"""Options and helpers of the commands that read a Prometheus: its address, a span of time, progress, JSON."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.history.prometheus_api import Prometheus

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9})([mhdw])")
_LONGEST_SECONDS = 260 * _UNITS["w"]


def prometheus_options(command: _Command) -> _Command:
    """`--prometheus` and `--prometheus-token-file`."""
    address = click.option(
        "--prometheus",
        "prometheus_url",
        default="http://localhost:9090",
        show_default=True,
        envvar="PROMETHEUS_URL",
        metavar="URL",
        help="Prometheus, or another server with its API: Mimir, Thanos, VictoriaMetrics. Or set PROMETHEUS_URL.",
    )
    token = click.option(
        "--prometheus-token-file", type=click.Path(path_type=Path), help="File with a bearer token for it."
    )
    return address(token(command))


def span_options(last: str) -> Callable[[_Command], _Command]:
    """`--last` and `--until`."""

    def decorate(command: _Command) -> _Command:
        length = click.option(
            "--last", default=last, show_default=True, metavar="DURATION", help="How much history to read: 36h, 7d, 4w."
        )
        until = click.option(
            "--until", metavar="TIME", help="End of the history: 2026-11-30 or 2026-11-30T14:00 (UTC); default now."
        )
        return length(until(command))

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def connect(url: str, token_file: Path | None) -> Prometheus:
    """Return the server to read from."""
    from anthropic_exporter.history.prometheus_api import Prometheus  # noqa: PLC0415 - imported when the command runs

    return Prometheus(url, token_file=token_file)


def span(last: str, until: str | None, step: int) -> tuple[int, int]:
    """Start and end in Unix seconds, both multiples of `step`.

    Raises:
        ConfigurationError: one of them cannot be read, or the span is empty.
    """
    end = int(time.time() if until is None else moment(until)) // step * step
    start = (end - duration(last)) // step * step
    if start >= end:
        raise ConfigurationError(f"--last {last}: is shorter than {step} s")
    return start, end


def duration(text: str, option: str = "--last") -> int:
    """`36h` as seconds.

    Raises:
        ConfigurationError: it is not a duration, is 0, or is too long.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ConfigurationError(f"{option} {text!r}: give a number and one of m, h, d, w, such as 36h")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST_SECONDS:
        raise ConfigurationError(f"{option} {text!r}: give at most {_LONGEST_SECONDS // _UNITS['w']}w")
    return seconds


def check_written(*paths: Path | None) -> None:
    """Check that files can be written, before the work starts.

    Raises:
        ConfigurationError: a folder does not exist, or a path is one.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise ConfigurationError(f"{path}: cannot be written: it is a folder")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{path}: cannot be written: the folder {path.parent} does not exist")


def moment(text: str) -> float:
    """An ISO time as Unix seconds; UTC unless it says otherwise."""
    try:
        found = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: give a time such as 2026-11-30 or 2026-11-30T14:00") from error
    return (found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)).timestamp()


@contextlib.contextmanager
def progress(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show a progress bar while the block runs, if stderr is a terminal; the block reports each step."""
    from rich.console import Console  # noqa: PLC0415 - imported when the command runs
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def when(at: float, form: str = "%a %d %b %H:%M") -> str:
    """Format a time for people, in UTC."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime(form)


def iso(at: float) -> str:
    """Format a time for programs, in UTC."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
