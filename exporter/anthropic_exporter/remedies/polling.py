"""Asks Alertmanager which alerts want a remedy, so that no connection into the process is needed."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.wire import alertmanager
from anthropic_exporter.wire.alertmanager import IncomingAlert

_TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 8_388_608
#: A restarted Alertmanager knows no alert until Prometheus sends it again: by default after a minute
#: (--rules.alert.resend-delay, prometheus.io/docs/prometheus/latest/command-line/prometheus, read 2026-11-25).
_SETTLES_AFTER_SECONDS = 120.0
_QUERY = urllib.parse.urlencode(
    {"filter": 'remedy=~".+"', "active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "false"}
)


class Look(NamedTuple):
    """What Alertmanagers said: `active` alerts; `complete` where an alert that is missing among them is over."""

    active: list[IncomingAlert]
    complete: bool


class Source:
    """One Alertmanager.

    Args:
        url: its address, such as `http://alertmanager:9093`.
        clock: seconds that never go back.

    Raises:
        ConfigurationError: the address is no http address.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"Alertmanager's address {url!r} does not begin with http:// or https://")
        self._url = url.rstrip("/")
        self._clock = clock
        self._started_at = ""
        self._restarted: float | None = None

    def look(self) -> Look:
        """The active alerts that carry the label `remedy`.

        Raises:
            OSError: Alertmanager does not answer.
            ValueError: what answers is no Alertmanager.
        """
        # First, so that an Alertmanager that restarts in between is noticed now or at the next look.
        started_at = self._start()
        active = alertmanager.of_api(self._get(f"/api/v2/alerts?{_QUERY}"))
        if self._started_at and started_at != self._started_at:
            self._restarted = self._clock()
        self._started_at = started_at or self._started_at
        return Look(active, self._settled())

    def _settled(self) -> bool:
        return self._restarted is None or self._clock() - self._restarted >= _SETTLES_AFTER_SECONDS

    def _start(self) -> str:
        """When it started, in its own words; empty where it does not say."""
        try:
            return str(json.loads(self._get("/api/v2/status"))["uptime"])
        except (urllib.error.HTTPError, ValueError, TypeError, KeyError, RecursionError):
            return ""

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._url + path, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked
            return bytes(response.read(_MOST_BYTES))


class Poller:
    """Looks every few seconds until closed. While no Alertmanager answers, what is known stays as it is.

    Args:
        sources: Alertmanagers of one cluster: what one of them knows is so.
        every_seconds: between two looks.
        take: gets what was seen.
        failed: gets what went wrong.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        every_seconds: float,
        take: Callable[[Look], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._sources = sources
        self._every_seconds = every_seconds
        self._take = take
        self._failed = failed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anthropic-remedies-poll", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            looks = [look for look in map(self._look, self._sources) if look is not None]
            if looks:
                active = {alert.key: alert for look in looks for alert in look.active}
                self._take(Look(list(active.values()), any(look.complete for look in looks)))
            self._stopped.wait(self._every_seconds)

    def _look(self, source: Source) -> Look | None:
        try:
            return source.look()
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed(error)
            return None

    def close(self) -> None:
        """Stop looking. Idempotent."""
        self._stopped.set()
        self._thread.join(_TIMEOUT_SECONDS + 1)
