"""The fake's HTTP server: keys, the beta header, errors in the API's form."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from typing_extensions import Self

from anthropic_exporter.simulator.fake_bill import answers
from anthropic_exporter.simulator.fake_bill.books import Books

BETA = "analytics-usage-cost-2026-08-24"
_ANALYTICS = "/v1/organizations/analytics/"


class FakeBill:
    """Serves a set of books on a free loopback port; a context manager.

    Attributes:
        requests: the paths that were asked for, with their queries.

    Args:
        books: the billed requests.
        key: the only key that may read it.
        clock: Unix seconds.
        has_analytics: False answers 404 to the Analytics API, as for organizations without it.
    """

    def __init__(
        self, books: Books, *, key: str, clock: Callable[[], float] = time.time, has_analytics: bool = True
    ) -> None:
        self.books = books
        self.requests: list[str] = []
        self._key, self._clock, self._has_analytics = key, clock, has_analytics
        bill = self

        class Handler(_Handler):
            fake = bill

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-bill", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address to give as `base_url`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def answer(self, path: str, headers: Any) -> tuple[int, dict[str, Any]]:
        """Status and body for a request."""
        self.requests.append(path)
        parts = urllib.parse.urlsplit(path)
        query: dict[str, list[str]] = {}
        for name, value in urllib.parse.parse_qsl(parts.query, keep_blank_values=True):
            query.setdefault(name.removesuffix("[]"), []).append(value)
        sent = headers.get("x-api-key") or (headers.get("authorization") or "").removeprefix("Bearer ")
        if sent != self._key:
            return _error(401, "authentication_error", "invalid x-api-key")
        try:
            return self._found(parts.path, query, headers)
        except answers.BadRequestError as error:
            return _error(400, "invalid_request_error", str(error))

    def _found(self, path: str, query: answers.Query, headers: Any) -> tuple[int, dict[str, Any]]:
        now, kind = self._clock(), path.removeprefix(_ANALYTICS)
        if path.startswith(_ANALYTICS) and kind in ("usage", "cost") and self._has_analytics:
            if BETA not in (headers.get("anthropic-beta") or ""):
                raise answers.BadRequestError(f"this endpoint needs the beta header {BETA}")
            return 200, answers.analytics(self.books, kind, query, now)
        if path == "/v1/organizations/usage_report/messages":
            return 200, answers.usage_report(self.books, query, now)
        if path == "/v1/organizations/cost_report":
            return 200, answers.cost_report(self.books, query, now)
        return _error(404, "not_found_error", "Not found")


def _error(status: int, kind: str, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeBill]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = self.fake.answer(self.path, self.headers)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
