"""Options and logging that several commands share."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range of finite numbers: click's `FloatRange` accepts `nan`, and `inf` if it has no upper end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
port_option = click.option(
    "--port", default=9464, show_default=True, type=click.IntRange(0, 65535), help="0 selects a free one."
)


def log_to_stdout() -> None:
    """Log to stdout, which containers show, without the HTTP client's line for each request."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "httpx2", "anthropic"):
        logging.getLogger(name).setLevel(logging.WARNING)
