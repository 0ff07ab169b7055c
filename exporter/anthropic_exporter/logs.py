"""Log lines that cannot harm whoever writes them: handlers and filters belong to the application, and may raise.

A handler that raises `SystemExit` would end a thread of this library, one that raises an `Exception` a call of the
application. What an application raises on its own threads, as a signal handler does, still reaches it.
"""

from __future__ import annotations

import logging
from typing import Any

from anthropic_exporter.interruptions import is_interruption


class Log:
    """The part of `logging.Logger` that this library uses.

    Args:
        name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, line: str, *arguments: Any) -> None:
        """Write a line of level INFO."""
        self._write(logging.INFO, line, arguments)

    def warning(self, line: str, *arguments: Any) -> None:
        """Write a line of level WARNING."""
        self._write(logging.WARNING, line, arguments)

    def error(self, line: str, *arguments: Any) -> None:
        """Write a line of level ERROR."""
        self._write(logging.ERROR, line, arguments)

    def _write(self, level: int, line: str, arguments: tuple[Any, ...]) -> None:
        try:
            self._logger.log(level, line, *arguments, stacklevel=3)
        except BaseException as error:
            if is_interruption(error):
                raise
