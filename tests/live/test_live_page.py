from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder, ServiceHandle, serve

ASSETS = resources.files("anthropic_exporter.live") / "assets"


@pytest.fixture
def server(recorder: Recorder, call: Callable[..., Call]) -> Iterator[ServiceHandle]:
    with serve(recorder, port=0, live=True) as running:
        recorder.record(call(output=171))
        yield running


def get(server: ServiceHandle, path: str, host: str | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"} | ({"Host": host} if host else {}))
        response = connection.getresponse()
        body = response.read()
        return response, gzip.decompress(body) if response.headers["Content-Encoding"] == "gzip" else body
    finally:
        connection.close()


def test_it_is_off_unless_asked_for(recorder: Recorder) -> None:
    with serve(recorder, port=0) as running:
        assert get(running, "/live")[0].status == get(running, "/live/state")[0].status == 404
        assert b"/live" not in get(running, "/")[1]


def test_the_landing_page_names_it(server: ServiceHandle) -> None:
    assert b'<a href="/live">' in get(server, "/")[1]


def test_the_policy_allows_these_scripts_and_styles_and_nothing_else(server: ServiceHandle) -> None:
    response, body = get(server, "/live")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        ((content),) = re.findall(rf"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy.pop(rule) == f"'sha256-{digest}'"
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_sends_no_other_requests(server: ServiceHandle) -> None:
    body = get(server, "/live")[1].decode()
    assert re.findall(r"https?://[^\s\"'*)]+", body) == [
        "https://github.com/leeoniya/uPlot"
    ]  # in the library's comment
    assert not re.search(r"<(link|script|img|iframe)[^>]+(src|href)=\"(?!data:)", body)
    assert "innerHTML" not in "".join((ASSETS / name).read_text() for name in ("page.js", "charts.js", "numbers.js"))


def test_the_page_is_small_and_not_cached(server: ServiceHandle) -> None:
    response, _ = get(server, "/live")
    assert int(response.headers["Content-Length"]) < 40_000
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_state_is_json_that_is_not_cached(server: ServiceHandle) -> None:
    response, body = get(server, "/live/state")
    assert json.loads(body)["total"][10] == 171
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("since", ["x", "-1", "", "9" * 40, "1e9"])
def test_a_wrong_step_number_is_refused(server: ServiceHandle, since: str) -> None:
    assert get(server, f"/live/state?since={since}")[0].status == (200 if since == "" else 400)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:80", 200),
        ("[::1]:9464", 200),
        ("app.localhost:9464", 200),
        ("evil.example", 421),
        ("127.evil.example", 421),
        ("localhost.evil.example:9464", 421),
        ("[::2]", 421),
    ],
)
def test_a_foreign_name_that_points_here_reads_nothing(server: ServiceHandle, host: str, status: int) -> None:
    assert get(server, "/live", host)[0].status == get(server, "/live/state", host)[0].status == status
    assert get(server, "/metrics", host)[0].status == get(server, "/", host)[0].status == status


def test_on_another_address_any_name_is_right(recorder: Recorder) -> None:
    with serve(recorder, port=0, host="0.0.0.0", live=True) as running:
        assert get(running, "/live", "claude.example")[0].status == 200


def test_closing_the_server_ends_the_subscription(recorder: Recorder) -> None:
    with serve(recorder, port=0, live=True):
        assert len(recorder._sinks.all) == 1
    assert recorder._sinks.all == ()  # type: ignore[comparison-overlap]


def test_the_chart_library_is_what_was_published() -> None:
    listed: dict[Any, Any] = dict(
        reversed(line.split())  # type: ignore[misc]
        for line in (ASSETS / "vendored.txt").read_text().splitlines()
        if "  " in line
    )
    assert listed.keys() == {"uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
    for name, digest in listed.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest
