"""What is a request, and what two programs could read in two ways; compared with h11, which servers rely on."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthropic_exporter.web import request_head
from anthropic_exporter.web.request_head import Head

HOST = b"Host: localhost"


def parse(*lines: bytes) -> Any:
    return request_head.parse(b"\r\n".join(lines))


def test_a_request_of_prometheus() -> None:
    head = parse(b"GET /metrics?a=b HTTP/1.1", b"Host: 127.0.0.1:9464", b"Accept:text/plain ", b"X-One: a", b"x-one: b")
    assert head == Head(
        "GET",
        "/metrics?a=b",
        1,
        {"host": "127.0.0.1:9464", "accept": "text/plain", "x-one": "a, b"},
    )
    assert (head.keeps_connection, head.has_body) == (True, False)


def test_the_target_may_name_the_host() -> None:
    assert parse(b"GET http://evil.example/metrics HTTP/1.0").headers["host"] == "evil.example"
    assert parse(b"GET http://Localhost:9464/metrics HTTP/1.1", b"Host: localhost:9464").target == "/metrics"


@pytest.mark.parametrize(
    ("line", "minor", "keeps"),
    [(b"X: y", 1, True), (b"Connection: Close", 1, False), (b"Connection: x, close", 1, False), (b"X: y", 0, False)],
)
def test_which_requests_keep_the_connection(line: bytes, minor: int, keeps: bool) -> None:
    assert parse(b"GET / HTTP/1.%d" % minor, HOST, line).keeps_connection is keeps


@pytest.mark.parametrize(
    ("lines", "has"),
    [
        ((), False),
        ((b"Content-Length: 0",), False),
        ((b"Content-Length: 00",), False),
        ((b"Content-Length: 5",), True),
        ((b"Transfer-Encoding: chunked",), True),
    ],
)
def test_which_requests_have_a_body(lines: tuple[Any], has: bool) -> None:
    assert parse(b"GET / HTTP/1.1", HOST, *lines).has_body is has


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"GET /",), 400),
        ((b"GET / HTTP/1.1",), 400),
        ((b"GET  / HTTP/1.1", HOST), 400),
        ((b" GET / HTTP/1.1", HOST), 400),
        ((b"GET / HTTP/1.1 ", HOST), 400),
        ((b"G\xc3\x96T / HTTP/1.1", HOST), 400),
        ((b"GET /\x00 HTTP/1.1", HOST), 400),
        ((b"GET * HTTP/1.1", HOST), 400),
        ((b"GET //evil@x/../ HTTP/9.1", HOST), 505),
        ((b"PRI * HTTP/2.0", HOST), 505),
        ((b"CONNECT a:1 HTTP/1.1", HOST), 400),
        ((b"GET http://localhost/ HTTP/1.1", b"Host: evil.example"), 400),
        ((b"GET http://evil.example/ HTTP/1.1", b"Host: localhost"), 400),
        ((b"GET http://evil@localhost/ HTTP/1.1", b"Host: localhost"), 400),
        ((b"GET http://localhost\\@evil.example/ HTTP/1.1", b"Host: localhost"), 400),
        ((b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2", b"GET / HTTP/1.1", HOST), 400),
        ((b"GET / HTTP/1.1", b"Host : localhost"), 400),
        ((b"GET / HTTP/1.1", HOST, b" folded"), 400),
        ((b"GET / HTTP/1.1", HOST, b"X: a\nY: b"), 400),
        ((b"GET / HTTP/1.1", HOST, b"X: a\rY: b"), 400),
        ((b"GET / HTTP/1.1", HOST, b"X: a\x00"), 400),
        ((b"GET / HTTP/1.1", HOST, HOST), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length: 5", b"content-length: 6"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length: five"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length: +5"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length: 5, 5"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length: \xb2"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Content-Length:"), 400),
        ((b"GET / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"), 400),
        ((b"GET / HTTP/1.1", HOST, *(b"X: y" for _ in range(100))), 431),
    ],
)
def test_what_is_refused(lines: tuple[bytes, ...], status: int) -> None:
    assert parse(*lines).status == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 411),
        ((b"Transfer-Encoding: chunked",), 411),
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), 411),
        ((b"Content-Length: 101",), 413),
        ((b"Content-Length: " + b"9" * 5000,), 413),
    ],
)
def test_a_body_whose_length_is_not_plain_is_refused(lines: tuple[bytes, ...], status: int) -> None:
    assert request_head.body_length(parse(b"POST / HTTP/1.1", HOST, *lines), 100).status == status  # type: ignore[union-attr]
    assert request_head.body_length(parse(b"POST / HTTP/1.1", HOST, b"Content-Length: 100"), 100) == 100


PIECES = [
    *(
        b"GET",
        b"POST",
        b" ",
        b"/",
        b"/a?b",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r",
        b"\n",
        b"\t",
        b":",
        b"X",
        b",",
        b"\x00",
    ),
    *(b"\xff", b"Host: a", b"Content-Length: 3", b"Content-Length: 4", b"Transfer-Encoding: chunked"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_accepted_requests_mean_the_same_to_h11(middle: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: b\r\n" + middle
    found = request_head.parse(raw)
    if isinstance(found, Head) and request_head.END not in raw:
        other = h11.Connection(h11.SERVER)
        other.receive_data(raw + request_head.END)
        if "transfer-encoding" in found.headers:  # refused with any value
            return
        event = other.next_event()
        assert (event.method.decode(), event.target.decode()) == (found.method, found.target)  # type: ignore[union-attr]
        assert {name.decode() for name, _ in event.headers} == found.headers.keys()  # type: ignore[union-attr]
