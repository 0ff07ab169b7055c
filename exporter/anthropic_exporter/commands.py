"""The commands. What a command needs is imported when it runs: `--help` and `check` start at once."""

from __future__ import annotations

import sys
from typing import Any

import click

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.errors import AnthropicExporterError
from anthropic_exporter.stopping import Stopped, raising

_USAGE = 2
_INTERRUPTED = 130


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is one line: what is wrong and what to do."""
    try:
        return int(commands.main(arguments, prog_name="anthropic-exporter", standalone_mode=False) or 0)
    except click.ClickException as error:
        return _complain(error.format_message(), getattr(error, "ctx", None))
    except AnthropicExporterError as error:
        return _complain(str(error))
    except Stopped as stopped:
        return stopped.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED


def _complain(message: str, context: click.Context | None = None) -> int:
    path = context.command_path if context else "anthropic-exporter"
    hint = f" (see {path} --help)" if context else ""
    sys.stderr.write(f"{path}: {' '.join(message.split())}{hint}\n")
    return _USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """What your Claude calls cost, on /metrics. Exit codes: 0 done, 1 found or failed something, 2 wrong usage."""


@commands.command()
@click.option("--calm", default=45.0, show_default=True, type=click.FloatRange(0), help="Seconds before the incident.")
@click.option("--incident", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds of the incident.")
@click.option("--keep", is_flag=True, help="Leave everything up at the end, until Ctrl-C.")
@click.option("--plain", is_flag=True, help="Timed lines instead of the live view; without a terminal it is always so.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port of /metrics; 0, the default, is a free one."
)
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same requests.")
def demo(**options: Any) -> int:
    """Two minutes of the main job: a lost prompt cache becomes dollars, an alert and a notification.

    A sample application calls a fake API on this machine through the real SDK; Prometheus and Alertmanager run with
    the shipped rules. No key is needed and nothing leaves this machine.
    """
    from rich.console import Console  # noqa: PLC0415 - see the module

    from anthropic_exporter.demo import runner  # noqa: PLC0415 - see the module

    with raising():
        return runner.run(runner.Settings(**options), Console())
