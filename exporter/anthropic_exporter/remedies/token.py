"""Who may send alerts: whoever has the bearer token that a file holds."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.logs import Log
from anthropic_exporter.web.routes import Answer, refusal

_log = Log("anthropic_exporter.remedies")


class Token:
    """A bearer token, read with each request, so that it can be changed while the process runs.

    Args:
        path: a file that holds the token and nothing else.

    Raises:
        ConfigurationError: the file cannot be read, or is empty.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._read()

    def admit(self, headers: Mapping[str, str]) -> Answer | None:
        """The response that refuses a request with these headers; None if it has the token."""
        try:
            token = self._read()
        except ConfigurationError as error:
            _log.error("%s", error)
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the token cannot be read; the process's log says why")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Headers arrive as latin-1; the comparison takes bytes, or ASCII alone.
        if scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("latin-1", "replace"), token.encode()
        ):
            return None
        return refusal(HTTPStatus.UNAUTHORIZED, "missing or wrong bearer token", ("WWW-Authenticate", "Bearer"))

    def _read(self) -> str:
        return bounded_files.read_token(self._path)
