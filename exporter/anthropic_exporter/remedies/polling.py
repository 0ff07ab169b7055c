"""Asks Alertmanager which alerts want a remedy, so that no connection into the process is needed."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter import bounded_files, threads
from anthropic_exporter.bounded_http import AnswerTooLongError, checked, fetch
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.wire import alertmanager
from anthropic_exporter.wire.alertmanager import IncomingAlert

#: For one complete request, however slow the response.
_TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 1_048_576
#: How long `close` waits for a request that is under way.
_LAST_LOOK_SECONDS = 1.0
#: A restarted Alertmanager knows no alert until Prometheus sends it again: by default after a minute
#: (--rules.alert.resend-delay, prometheus.io/docs/prometheus/latest/command-line/prometheus, read 2026-11-25).
_SETTLES_AFTER_SECONDS = 120.0


def _query(matcher: str) -> str:
    states = {"active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "false"}
    return urllib.parse.urlencode({"filter": matcher, **states})


_ALL, _BREAKERS = _query('remedy=~".+"'), _query('remedy="open_breaker"')


class Look(NamedTuple):
    """The state of Alertmanagers: the `active` alerts, and whether a missing alert has resolved (`complete`)."""

    active: list[IncomingAlert]
    complete: bool


class Credentials:
    """How this process proves to Alertmanager who it is: basic authentication, a bearer token, or not at all.

    Secrets are read with each request, so that they can be changed.

    Raises:
        ConfigurationError: they do not fit together, or a file cannot be read.
    """

    def __init__(
        self, username: str = "", password_file: str | Path | None = None, token_file: str | Path | None = None
    ) -> None:
        if bool(username) != (password_file is not None):
            raise ConfigurationError("remedies.watch: username= and password_file= go together; give both or neither")
        if username and token_file is not None:
            raise ConfigurationError("remedies.watch: give username= and password_file=, or token_file=, not all")
        self._username = username
        self._path = Path(file) if (file := password_file or token_file) is not None else None
        self.headers()

    def headers(self) -> dict[str, str]:
        """The headers of a request; none without credentials."""
        if self._path is None:
            return {}
        try:
            secret = bounded_files.read_text(self._path, bounded_files.MOST_SECRET_BYTES).strip()
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; put the secret for Alertmanager there") from error
        if not secret.isprintable():
            raise ConfigurationError(f"{self._path}: the secret for Alertmanager has to be one line")
        if not self._username:
            return {"Authorization": f"Bearer {secret}"}
        return {"Authorization": f"Basic {base64.b64encode(f'{self._username}:{secret}'.encode()).decode()}"}


class PolledAlertmanager:
    """One Alertmanager.

    Args:
        url: its address, such as `http://alertmanager:9093`.
        credentials: how to prove who asks.
        clock: monotonic seconds.

    Raises:
        ConfigurationError: the address is not an http address.
    """

    def __init__(
        self, url: str, credentials: Credentials | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"Alertmanager's address {url!r} does not begin with http:// or https://")
        self._url = checked(url, "remedies.watch: Alertmanager's address").rstrip("/")
        self._credentials = credentials or Credentials()
        self._clock = clock
        self._started_at = ""
        self._restarted: float | None = None
        self._guarded = False

    def look(self, *, only_breakers: bool = False) -> Look:
        """The active alerts that carry the label `remedy`, or of these only the ones that are to open breakers.

        Raises:
            OSError: Alertmanager does not answer in time.
            AnswerTooLongError: there are too many alerts.
            ValueError: what answers is not an Alertmanager.
        """
        # First, so that an Alertmanager that restarts in between is noticed now or at the next look.
        started_at = self._start()
        active = alertmanager.parse_api(self._get(f"/api/v2/alerts?{_BREAKERS if only_breakers else _ALL}"))
        if started_at != self._started_at or not self._started_at:
            self._guarded = self._asks_for_credentials()
        if self._started_at and started_at != self._started_at:
            self._restarted = self._clock()
        self._started_at = started_at or self._started_at
        return Look(
            [alert._replace(authenticated=self._guarded) for alert in active], self._settled() and not only_breakers
        )

    def _settled(self) -> bool:
        return self._restarted is None or self._clock() - self._restarted >= _SETTLES_AFTER_SECONDS

    def _asks_for_credentials(self) -> bool:
        """Whether it refuses whoever has none: else anybody may have sent it its alerts."""
        if not self._credentials.headers():
            return False
        try:
            fetch(f"{self._url}/api/v2/status", timeout=_TIMEOUT_SECONDS, most_bytes=_MOST_BYTES)
        except urllib.error.HTTPError as error:
            return error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        return False

    def _start(self) -> str:
        """When it started, in its own words; empty if it does not say."""
        try:
            return str(json.loads(self._get("/api/v2/status"))["uptime"])
        except (urllib.error.HTTPError, ValueError, TypeError, KeyError, RecursionError):
            return ""

    def _get(self, path: str) -> bytes:
        headers = self._credentials.headers()
        return fetch(self._url + path, headers=headers, timeout=_TIMEOUT_SECONDS, most_bytes=_MOST_BYTES)


class Poller:
    """Asks every few seconds until closed. While no Alertmanager answers, the alerts stay as they are.

    Args:
        sources: Alertmanagers of one cluster, whose alerts are merged.
        every_seconds: between two requests.
        take: is called with the result.
        failed: gets what went wrong.
    """

    def __init__(
        self,
        sources: Sequence[PolledAlertmanager],
        every_seconds: float,
        take: Callable[[Look], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._sources = sources
        self._every_seconds = every_seconds
        self._take = take
        self._failed = failed
        self._stopped = threading.Event()
        self._ended = threading.Event()
        threads.start_eventually(self._run, name="anthropic-remedies-poll")

    def _run(self) -> None:
        while not self._stopped.is_set():
            looks = [look for look in map(self._look, self._sources) if look is not None]
            if looks:
                self._hand_over(looks)
            self._stopped.wait(self._every_seconds)
        self._ended.set()

    def _hand_over(self, looks: list[Look]) -> None:
        active = {alert.key: alert for look in looks for alert in look.active}
        try:
            self._take(Look(list(active.values()), any(look.complete for look in looks)))
        except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
            self._failed(error)

    def _look(self, source: PolledAlertmanager) -> Look | None:
        try:
            return source.look()
        except AnswerTooLongError as error:  # a flood of alerts must not hide those of breakers
            self._failed(error)
            return self._look_for_breakers(source)
        except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
            self._failed(error)
            return None

    def _look_for_breakers(self, source: PolledAlertmanager) -> Look | None:
        try:
            return source.look(only_breakers=True)
        except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
            self._failed(error)
            return None

    def close(self) -> None:
        """Stop asking. Idempotent."""
        self._stopped.set()
        self._ended.wait(_LAST_LOOK_SECONDS)
