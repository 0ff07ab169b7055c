"""The command group, and how an error becomes one line and an exit code.

Each command imports its dependencies when it runs, so that `--help` is fast.
"""

from __future__ import annotations

import sys

import click

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.commands.advise import advise
from anthropic_exporter.commands.backtest import backtest
from anthropic_exporter.commands.calibrate import calibrate
from anthropic_exporter.commands.check import check
from anthropic_exporter.commands.collect import collect
from anthropic_exporter.commands.demo import demo
from anthropic_exporter.commands.export import export
from anthropic_exporter.commands.reconcile import reconcile
from anthropic_exporter.commands.review import review
from anthropic_exporter.commands.serve import serve
from anthropic_exporter.commands.signals import Stopped
from anthropic_exporter.commands.simulate import simulate
from anthropic_exporter.errors import AnthropicExporterError

_NAME = "anthropic-exporter"
_USAGE = 2
_INTERRUPTED = 130
_EXTRA_OF = {
    **dict.fromkeys(("markdown_it", "rich", "starlette", "uvicorn"), "cli"),
    **dict.fromkeys(("matplotlib",), "report"),
}


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is one line: what is wrong and what to do."""
    try:
        return int(commands.main(arguments, prog_name=_NAME, standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else _NAME
        return _complain(f"{path}: {error.format_message()} (see {path} --help)")
    except AnthropicExporterError as error:
        return _complain(f"{_NAME}: {error}")
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _complain(f"{_NAME}: this command needs {error.name}: pip install 'anthropic-exporter[{extra}]'")
    except Stopped as stopped:
        return stopped.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED


def _complain(message: str) -> int:
    sys.stderr.write(f"{' '.join(message.split())}\n")
    return _USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Measure what your Claude calls cost. Exit codes: 0 success, 1 findings or a failure, 2 wrong usage."""


for _command in (
    demo,
    serve,
    simulate,
    check,
    export,
    reconcile,
    calibrate,
    review,
    advise,
    backtest,
    collect,
):
    commands.add_command(_command)
