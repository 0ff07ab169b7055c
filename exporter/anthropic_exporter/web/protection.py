"""The protection that a web configuration file describes, reloaded when one of its files changes."""

from __future__ import annotations

import hmac
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.logs import Log
from anthropic_exporter.web import web_config
from anthropic_exporter.web.passwords import Passwords, TooManyLogins
from anthropic_exporter.web.routes import Answer, refusal
from anthropic_exporter.web.tls import Tls
from anthropic_exporter.web.web_config import Rate, WebConfig

_log = Log("anthropic_exporter")
_LOOK_SECONDS = 1.0
_REPEATED_EVERY_SECONDS = 3_600.0
_BUSY = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many passwords to check; try again", ("Retry-After", "1"))
_TOO_OFTEN = refusal(HTTPStatus.TOO_MANY_REQUESTS, "more requests than rate_limit allows", ("Retry-After", "1"))


class _State(NamedTuple):
    """One reading of the files."""

    config: WebConfig
    tls: Tls | None
    passwords: Passwords
    tokens: tuple[bytes, ...]


class Protection:
    """TLS, passwords, tokens, headers and rate of a server. Edits take effect within a second; broken ones are ignored.

    Args:
        path: the web configuration file.
        broken: called with one line when an edit is broken, and the configuration before it stays in force; also when
            a certificate is not valid yet, or no longer, then every hour.
        limited: called with the name of a limit that was reached.
        clock: monotonic seconds.
        wall: seconds since the epoch.

    Raises:
        ConfigurationError: a mistake in the file, or a file that it names.
    """

    def __init__(
        self,
        path: Path,
        broken: Callable[[str], None],
        limited: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._wall = wall
        self._broken = broken
        self._limited = limited
        self._clock = clock
        self._lock = threading.Lock()
        self._state = _read(path)
        self._stamps = self._files()
        #: The mistake in the last edit, which is therefore not used.
        self._mistake = ""
        self._looks_at = clock() + _LOOK_SECONDS
        self._problem, self._repeats_at = "", 0.0
        self._check_dates()
        self._bucket = _Bucket(self._state.config.rate, clock)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self._state.tls is not None

    def wrap(self, connected: socket.socket) -> Any:
        """A TLS socket with the current certificates."""
        self._refresh()
        tls = self._state.tls
        return connected if tls is None else tls.wrap(connected)

    def refuses(self, connected: Any) -> bool:
        """Whether the client's certificate is refused."""
        tls = self._state.tls
        return tls is not None and tls.refuses(connected)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Additional headers of every answer."""
        return self._state.config.headers

    def authenticate(self, headers: Mapping[str, str]) -> Answer | None:
        """Return the answer that refuses a request, or None if its password or token is right or none is required."""
        self._refresh()
        if not self._bucket.takes():
            self._limited("server_rate")
            return _TOO_OFTEN
        state, given = self._state, headers.get("authorization", "")
        if not (state.config.users or state.tokens) or _has_token(given, state.tokens):
            return None
        try:
            admitted = bool(state.config.users) and state.passwords.admits(given)
        except TooManyLogins:
            self._limited("server_logins")
            return _BUSY
        return None if admitted else _unauthorized(state)

    def _refresh(self) -> None:
        """Reload changed files. One thread does so; the others use the current configuration."""
        if self._clock() < self._looks_at or not self._lock.acquire(blocking=False):
            return
        try:
            self._looks_at = self._clock() + _LOOK_SECONDS
            stamps = self._files()
            if stamps != self._stamps:
                self._stamps, self._mistake = stamps, ""
                self._read_again()
            elif self._mistake:  # a file that the edit names may have come since
                self._read_again()
            self._check_dates()
        finally:
            self._lock.release()

    def _check_dates(self) -> None:
        """Log that a certificate is not valid, because otherwise only clients notice."""
        tls, now = self._state.tls, self._clock()
        problem = "" if tls is None else tls.problem(self._wall())
        if problem and (problem != self._problem or now >= self._repeats_at):
            self._repeats_at = now + _REPEATED_EVERY_SECONDS
            self._broken(f"{self._path}: tls_server_config: {problem}")
        self._problem = problem

    def _read_again(self) -> None:
        try:
            state = _read(self._path)
            if (state.tls is None) != (self._state.tls is None):
                raise ConfigurationError(f"{self._path}: TLS can be switched on or off only by a restart")  # noqa: TRY301 - one line
        except Exception as error:  # noqa: BLE001 - whatever a file does to its reader, the server goes on
            said = error if isinstance(error, ConfigurationError) else f"{self._path}: {type(error).__name__}"
            if str(said) != self._mistake:
                self._broken(f"{said}; the previous configuration stays in effect")
            self._mistake = str(said)
            return
        self._state, self._mistake = state, ""
        self._bucket = _Bucket(state.config.rate, self._clock)
        self._stamps = self._files()
        _log.info("%s: reloaded", self._path)

    def _files(self) -> tuple[object, ...]:
        """A value that changes whenever one of the files does."""
        config = self._state.config
        pems = (config.tls.cert, config.tls.key, config.tls.client_ca) if config.tls else ()
        paths = [self._path, *config.token_files, *(pem.path for pem in pems if pem and pem.path)]
        return tuple(map(bounded_files.stamp, paths))


class _Bucket:
    """A token bucket: `burst` requests at once, then one every `seconds`; without a rate any number."""

    def __init__(self, rate: Rate | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(rate.burst) if rate else 0.0
        self._at = clock()

    def takes(self) -> bool:
        rate = self._rate
        if rate is None:
            return True
        with self._lock:
            now = self._clock()
            self._tokens = min(float(rate.burst), self._tokens + (now - self._at) / rate.seconds)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _read(path: Path) -> _State:
    config = web_config.read(path)
    tls = Tls(path, config.tls) if config.tls else None
    try:
        passwords = Passwords(config.users)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return _State(config, tls, passwords, tuple(map(_token, config.token_files)))


def _token(path: Path) -> bytes:
    return bounded_files.read_token(path).encode()


def _has_token(authorization: str, tokens: tuple[bytes, ...]) -> bool:
    """Whether the header has one of the tokens; compares with all of them, so that timing reveals nothing."""
    scheme, _, given = authorization.partition(" ")
    # Headers arrive as latin-1.
    found = [hmac.compare_digest(given.strip().encode("latin-1", "replace"), token) for token in tokens]
    return scheme.lower() == "bearer" and any(found)


def _unauthorized(state: _State) -> Answer:
    schemes = (*(("Basic",) if state.config.users else ()), *(("Bearer",) if state.tokens else ()))
    challenge = ", ".join(f'{scheme} realm="anthropic-exporter"' for scheme in schemes)
    return refusal(HTTPStatus.UNAUTHORIZED, "missing or wrong credentials", ("WWW-Authenticate", challenge))
