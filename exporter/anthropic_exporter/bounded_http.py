"""One HTTP request whose answer is bounded in bytes and in total time. Standard library only.

urllib only limits the time of each read: a server that drips bytes keeps its client forever. Here one deadline covers
everything from connecting to the last byte. Redirects are not followed, certificates are verified, and proxies come
from the environment, as in urllib.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from anthropic_exporter.errors import ConfigurationError


class AnswerTooLongError(ValueError):
    """The answer has more bytes than allowed."""


def fetch(
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    most_bytes: int,
) -> bytes:
    """Send a request: POST if there is a body, else GET. Returns the body of the answer.

    Args:
        url: an http or https address; see `checked`.
        body: what to send.
        headers: further headers.
        timeout: seconds for the whole request.
        most_bytes: bytes of the answer that are read.

    Raises:
        urllib.error.HTTPError: the status is not 2xx; its body is not read.
        OSError: no connection, or the response was not complete in time.
        AnswerTooLongError: the answer is longer.
        http.client.HTTPException: the response is not HTTP.
    """
    request = urllib.request.Request(url, body, dict(headers or {}))  # noqa: S310 - `checked` looked at the scheme
    try:
        with _opener.open(request, timeout=timeout) as response:
            found: bytes = response.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if len(found) > most_bytes:
        raise AnswerTooLongError(f"more than {most_bytes} bytes")
    return found


def checked(url: str, what: str) -> str:
    """Return the address, if `fetch` accepts it.

    Raises:
        ConfigurationError: it is not an http:// or https:// address. The message names `what` needs it.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{what}: give an http:// or https:// address")
    return url


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)  # keeps the socket open until the reader is closed
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """A connected socket with one deadline for everything; implements what `http.client` uses."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self._deadline = deadline

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self.connection, self._deadline))

    def sendall(self, data: Any) -> None:
        self.connection.settimeout(_left(self._deadline))
        self.connection.sendall(data)

    def setsockopt(self, *arguments: Any) -> None:
        self.connection.setsockopt(*arguments)

    def close(self) -> None:
        self.connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the response was not complete in time")
    return left


def _connected(address: tuple[str, int], deadline: float) -> socket.socket:
    """A connection to the first of the host's addresses that answers."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, target in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(target)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


class _TimedConnection(http.client.HTTPConnection):
    """A connection whose `timeout` limits all of its operations together."""

    sock: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = time.monotonic() + float(self.timeout or 0.0)
        self._create_connection = lambda address, *_: _TimedSocket(_connected(address, self._deadline), self._deadline)


class _TimedTLSConnection(_TimedConnection):
    """The same over TLS."""

    default_port = 443

    def connect(self) -> None:
        super().connect()  # through a proxy: its CONNECT is answered by now
        plain = self.sock.connection
        plain.settimeout(_left(self._deadline))  # of the whole handshake
        try:
            name = getattr(self, "_tunnel_host", None) or self.host
            wrapped = ssl.create_default_context().wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self.sock = _TimedSocket(wrapped, self._deadline)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_TimedConnection, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_TimedTLSConnection, request)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without its body, and look delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


def opener(*handlers: type[urllib.request.BaseHandler]) -> urllib.request.OpenerDirector:
    """An opener of urllib whose `timeout` limits each complete response, with further handlers."""
    return urllib.request.build_opener(_Handler, *handlers)


_opener = opener(_NoRedirect)
