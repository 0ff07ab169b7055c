"""Options and logging that several commands share."""

from __future__ import annotations

import logging
import sys

import click

host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
port_option = click.option(
    "--port", default=9464, show_default=True, type=click.IntRange(0, 65535), help="0 selects a free one."
)


def log_to_stdout() -> None:
    """Log to stdout, which containers show, without the HTTP client's line for each request."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "httpx2", "anthropic"):
        logging.getLogger(name).setLevel(logging.WARNING)
