"""What Alertmanager talks to, on loopback: Slack's and PagerDuty's HTTP, anybody's webhook, and a mail server."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import socketserver
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mailbox:
    """Keeps what arrives, in order, and lets a test wait for what it wants."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived: list[Any] = []

    def put(self, one: EmailMessage | Posted) -> None:
        with self._changed:
            self._arrived.append(one)
            self._changed.notify_all()

    @property
    def all(self) -> list[Posted]:
        with self._changed:
            return list(self._arrived)

    def wait_for(self, wanted: Callable[..., Any], timeout: float) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._arrived)), timeout)
            found = next(filter(wanted, self._arrived), None)
        assert found is not None, f"nothing of that kind within {timeout} s, but {self._arrived}"
        return found

    def wait_for_count(self, count: Any, timeout: Any) -> Any:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._arrived) >= count, timeout), f"{len(self._arrived)} arrived"
            return list(self._arrived)


class Posted:
    """One POST: when it came, where to, with which headers, saying what."""

    def __init__(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        self.at = time.time()
        self.path = path
        self.headers = headers
        self.body = body

    def __repr__(self) -> Any:
        return f"POST {self.path} {json.dumps(self.body)[:300]}"


class Web:
    """`/services/...` is a Slack incoming webhook, `/v2/enqueue` PagerDuty's Events API v2, all else a plain webhook.

    Both answer as the real ones: Slack `ok` in plain text, or 400 `invalid_payload` (Slack's changelog of 2016-05-17,
    read 2026-11-24); PagerDuty 202 with `status: success`, or 400 without a routing key, summary, source or severity.
    `broken` answers every path with 500.
    """

    def __init__(self) -> None:
        self.inbox = Mailbox()
        self.broken = False
        self._http: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.web = self  # type: ignore[attr-defined]
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def posts(self, path: str) -> list[Posted]:
        return [post for post in self.inbox.all if post.path == path]

    def alerts(self, path: str = "/alerts") -> list[tuple[str, dict[str, str]]]:
        """Every alert of every notification to a webhook, as `(status, labels)`."""
        return [(alert["status"], alert["labels"]) for post in self.posts(path) for alert in post.body["alerts"]]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _slack(body: dict[str, Any]) -> tuple[int, str, bytes]:
    if not isinstance(body.get("attachments"), list) or not all(one.get("fallback") for one in body["attachments"]):
        return 400, "text/plain", b"invalid_payload"
    return 200, "text/plain", b"ok"


def _pagerduty(body: dict[str, Any]) -> tuple[int, str, bytes]:
    payload = body.get("payload", {})
    complete = payload.get("summary") and payload.get("source") and payload.get("severity") in {"critical", "warning"}
    if len(body.get("routing_key", "")) != 32 or not (body.get("event_action") == "resolve" or complete):
        return 400, "application/json", b'{"status":"invalid event","message":"Event object is invalid"}'
    answer = {"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]}
    return 202, "application/json", json.dumps(answer).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        web = self.server.web
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if web.broken:
            status, content_type, answer = 500, "text/plain", b"broken"
        elif self.path.startswith("/services/"):
            status, content_type, answer = _slack(body)
        elif self.path == "/v2/enqueue":
            status, content_type, answer = _pagerduty(body)
        else:
            status, content_type, answer = 200, "text/plain", b""
        if status < 300:
            web.inbox.put(Posted(self.path, dict(self.headers), body))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: str) -> None:
        pass


class MailServer:
    """As much SMTP as a client with a password needs (RFC 5321, RFC 4954); messages arrive parsed."""

    def __init__(self) -> None:
        self.inbox = Mailbox()
        self._tcp: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Conversation)
        self._tcp.daemon_threads = True
        self._tcp.inbox = self.inbox  # type: ignore[attr-defined]
        self.address = f"127.0.0.1:{self._tcp.server_address[1]}"
        threading.Thread(target=self._tcp.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._tcp.shutdown()
        self._tcp.server_close()


_ANSWERS = {
    "EHLO": b"250-loopback\r\n250 AUTH PLAIN\r\n",
    "AUTH": b"235 accepted\r\n",
    "DATA": b"354 go on\r\n",
    "QUIT": b"221 bye\r\n",
}


class _Conversation(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._converse()

    def _converse(self) -> None:
        self.wfile.write(b"220 loopback\r\n")
        credentials = ""
        for line in iter(self.rfile.readline, b""):
            verb = line.split()[0].decode().upper()
            credentials = line.split()[-1].decode() if verb == "AUTH" else credentials
            self.wfile.write(_ANSWERS.get(verb, b"250 ok\r\n"))
            if verb == "DATA":
                self._take(credentials)
                self.wfile.write(b"250 taken\r\n")
            if verb == "QUIT":
                return

    def _take(self, credentials: str) -> None:
        lines = iter(self.rfile.readline, b".\r\n")
        text = b"".join(line[1:] if line.startswith(b"..") else line for line in lines)  # RFC 5321, 4.5.2
        message = email.message_from_bytes(text, policy=email.policy.default)
        message.credentials = credentials  # type: ignore[attr-defined]
        self.server.inbox.put(message)
