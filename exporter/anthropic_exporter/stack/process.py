"""One child process with a log file and a readiness address."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0


class Process:
    """A child process in its own session, so that Ctrl-C in the terminal reaches the parent first."""

    def __init__(self, command: Sequence[str], log: Path, ready_url: str) -> None:
        self.name = log.stem
        self._log = log
        self._ready_url = ready_url
        with log.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603 -- our own command line, no shell
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def wait_until_ready(self) -> None:
        """Wait for a 200 from the readiness address.

        Raises:
            ConfigurationError: the child exited or was not ready in time; the message names its log file.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._ready():
            if self._child.poll() is not None:
                raise ConfigurationError(f"{self.name} exited with code {self._child.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{self.name} is not ready after {_PATIENCE_SECONDS:.0f} s: {self._last_words()}"
                )
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Terminate the child, and kill it if it does not exit. Idempotent."""
        self._child.terminate()
        try:
            self._child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready_url, timeout=2) as response:  # noqa: S310 -- loopback
                return bool(response.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no output"]
        errors = [line for line in lines if "level=error" in line or "level=ERROR" in line]
        return f"{(errors[:1] or lines[-1:])[0]} (log: {self._log})"
