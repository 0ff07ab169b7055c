"""Who may ask: the host names of this server, and no web page of another origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.web.request_head import Head
from anthropic_exporter.web.routes import Answer, refusal

_LOOPBACK = re.compile(r"localhost|[\w.-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\]")
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_NAME = re.compile(r"[\w.-]+|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?", re.ASCII)
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class Admission(NamedTuple):
    """Which requests are admitted before passwords are checked.

    A web page may have a host name of its own resolve to 127.0.0.1 and read the answers as its own (DNS rebinding); the
    browser still sends that name in `Host`. And every page may send a POST of plain text anywhere.

    Attributes:
        names: host names without a port, in lower case, beside those of the loopback interface.
        every_host: whether any `Host` is accepted, because clients reach this server by names that it cannot know.
    """

    names: frozenset[str]
    every_host: bool

    @classmethod
    def of(cls, host: str, allowed: Iterable[str] = ()) -> Admission:
        """Return the rules for a server bound to `host`. Names in `allowed`, if any, exclude all but loopback names.

        Raises:
            ConfigurationError: an allowed name is not a host name.
        """
        names = [name.lower() for name in allowed]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(f"allowed host {name!r} is not a host name or address; give it without a port")
        bound = [] if host in _EVERY_ADDRESS else [host.lower()]
        known = frozenset(f"[{name}]" if ":" in name and name[0] != "[" else name for name in (*names, *bound))
        return cls(known, every_host=not names and not is_loopback(host))

    def refuses(self, head: Head) -> Answer | None:
        """Return the answer that refuses a request, or None if it is admitted."""
        host = head.headers.get("host")
        if host is not None and not self.every_host and not self._knows(host):
            said = "this server does not accept that Host; use localhost, or allow the name"
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, said)
        if head.method not in ("GET", "HEAD") and self._is_foreign(head.headers, host or ""):
            return refusal(HTTPStatus.FORBIDDEN, "web pages of other origins may not send this")
        return None

    def _is_foreign(self, headers: Mapping[str, str], host: str) -> bool:
        """Whether a web page from another server sends the request. Programs send neither header."""
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        return site not in ("none", "same-origin") or (origin is not None and not self._is_own(origin, host))

    def _knows(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        return found is not None and (found[1] in self.names or bool(_LOOPBACK.fullmatch(found[1])))

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this server sends it. A page that reaches it by an unknown name is not known to be that."""
        authority = urlsplit(origin).netloc if origin.startswith(("http://", "https://")) else ""
        return authority.lower() == host.lower() and self._knows(authority)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server bound to `host`."""
    return bool(_LOOPBACK.fullmatch(host.lower())) or host == "::1"
