"""Asks Alertmanager which alerts want a remedy, so that no connection into the process is needed."""

from __future__ import annotations

import threading
import urllib.parse
import urllib.request
from collections.abc import Callable

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.remedies import incoming
from anthropic_exporter.remedies.incoming import IncomingAlert

_TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 8_388_608
_QUERY = urllib.parse.urlencode(
    {"filter": 'remedy=~".+"', "active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "false"}
)


def look(url: str) -> list[IncomingAlert]:
    """The active alerts that carry the label `remedy`.

    Raises:
        OSError: Alertmanager does not answer.
        ValueError: what answers is no Alertmanager.
    """
    with urllib.request.urlopen(f"{url}/api/v2/alerts?{_QUERY}", timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked
        return incoming.of_api(response.read(_MOST_BYTES))


class Poller:
    """Looks every few seconds until closed. While Alertmanager does not answer, what is known stays as it is.

    Args:
        url: Alertmanager's address, such as `http://alertmanager:9093`.
        every_seconds: between two looks.
        take: gets all active alerts.
        failed: gets what went wrong.
    """

    def __init__(
        self,
        url: str,
        every_seconds: float,
        take: Callable[[list[IncomingAlert]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"Alertmanager's address {url!r} does not begin with http:// or https://")
        self._url = url.rstrip("/")
        self._every_seconds = every_seconds
        self._take = take
        self._failed = failed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anthropic-remedies-poll", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._take(look(self._url))
            except Exception as error:  # noqa: BLE001 - the error boundary
                self._failed(error)
            self._stopped.wait(self._every_seconds)

    def close(self) -> None:
        """Stop looking. Idempotent."""
        self._stopped.set()
        self._thread.join(_TIMEOUT_SECONDS + 1)
