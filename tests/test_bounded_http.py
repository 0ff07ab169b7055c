"""Servers that drip, never end, answer too much or not at all: a request ends in time, and its memory is bounded."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.error
from typing import Any

import pytest

from anthropic_exporter.bounded_http import AnswerTooLongError, checked, fetch
from anthropic_exporter.errors import ConfigurationError
from dripping import Drip

pytest_plugins = ("fixtures_service",)

HEAD = b"HTTP/1.1 200 OK\r\n"


def seconds_to_fail(url: str, **options: Any) -> float:
    began = time.monotonic()
    with pytest.raises((OSError, AnswerTooLongError, http.client.HTTPException)):
        fetch(url, **{"timeout": 0.3, "most_bytes": 1000, **options})
    return time.monotonic() - began


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200",
        HEAD,
        HEAD + b"X-Long: ",
        HEAD + b"Content-Length: 999\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 999\r\n\r\n",
    ],
    ids=["nothing", "status", "headers", "header", "body", "chunk", "continue", "error"],
)
def test_a_server_that_drips_is_left_in_time(first: bytes) -> None:
    with Drip(first) as server:
        assert seconds_to_fail(server.url) < 30.0
        assert server.gone.wait(30)


def test_an_answer_without_an_end_is_cut() -> None:
    with Drip(HEAD + b"\r\n", byte=b"x" * 65_536, pause=0.0) as server:
        with pytest.raises(AnswerTooLongError, match="more than 1000 bytes"):
            fetch(server.url, timeout=5.0, most_bytes=1000)
        assert server.gone.wait(30)


def test_a_handshake_that_drips_is_left_in_time() -> None:
    with Drip(b"\x16\x03\x03") as server:
        assert seconds_to_fail(server.url.replace("http:", "https:")) < 30.0


def test_a_proxy_that_drips_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with Drip(b"HTTP/1.1 200 OK\r\nX-Proxy: ") as server:
        monkeypatch.setenv("https_proxy", server.url)
        assert seconds_to_fail("https://hooks.example.org/") < 30.0


def test_a_whole_answer_is_given_and_a_failed_one_is_an_error(service: Any) -> None:
    assert fetch(service.url, body=b"{}", timeout=5.0, most_bytes=2) == b"ok"
    service.status = 503
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(service.url, body=b"{}", timeout=5.0, most_bytes=2)
    with contextlib.closing(refused.value):
        assert refused.value.code == 503


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "http://", "http://host:port", "http://[::1", "ftp://host"])
def test_only_http_addresses_are_taken_and_the_message_has_no_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^hook: give an http:// or https:// address$"):
        checked(url, "hook")
