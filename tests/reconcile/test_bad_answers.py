"""What a server may answer instead of a bill: one line that says so, and `--watch` goes on."""

from __future__ import annotations

import copy
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import analytics, watch
from anthropic_exporter.reconcile.compare import Tolerances, compare
from anthropic_exporter.reconcile.lines import BilledSpan
from anthropic_exporter.reconcile.show import as_json, table

START = 1_795_219_200  # 2026-11-21T00:00:00Z
HOUR = 3_600
SECRET = "sk-ant-admin01-not-a-key"
GROUP = {"model": "claude-opus-5-5", "service_tier": "standard", "speed": "standard", "product": "messages_api"}
WHEN = {"starting_at": "2026-11-21T00:00:00Z", "ending_at": "2026-11-21T01:00:00Z"}
USAGE = {
    "uncached_input_tokens": 171,
    "output_tokens": 40,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}
COST = {"amount": "0.0684", "list_amount": "0.0684", "currency": "USD"}
OF_COST = {"cost_type": "tokens", "token_type": "uncached_input_tokens"}
LAST = {"has_more": False, "next_page": None, "data_refreshed_at": None}
Answer = Callable[[str], tuple[int, Any]]


def bill(usage: Any = None, cost: Any = None, **page: Any) -> Answer:
    """Both reports, with one row each, some of it changed."""

    def answer(path: str) -> tuple[int, Any]:
        if "/usage" in path:
            row = {**WHEN, "group": GROUP, "usage": USAGE | (usage or {})}
        else:
            row = {**WHEN, "group": GROUP | OF_COST, "cost": COST | (cost or {})}
        return 200, {"data": [copy.deepcopy(row)], **LAST, **page}

    return answer


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path)
                raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "text/html" if isinstance(body, str) else "application/json")
                self.send_header("retry-after-ms", "1")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def read(base_url: str) -> BilledSpan:
    with analytics.client(SECRET, base_url) as api:
        return analytics.read(api, START, START + HOUR, PriceBook.load())


def test_amounts_are_fractional_cents_in_strings(serve: Callable[[Answer], str]) -> None:
    found = read(serve(bill()))
    # 171 tokens at 4 dollars a million are 0.0684 cents
    assert sum(line.amount.usd for line in found.lines) == pytest.approx(0.000684)
    assert sum(line.amount.tokens for line in found.lines) == 211


@pytest.mark.parametrize(
    "answer",
    [
        bill(usage={"cache_creation": None}),
        bill(usage={"output_tokens": "a lot of secret text"}),
        bill(cost={"amount": None}),
        bill(cost={"list_amount": "secret text"}),
        bill(cost={"amount": "1e999"}),
        bill(cost={"list_amount": "nan"}),
        bill(cost={"currency": "secret text"}),
        bill(has_more=True, next_page="always the same"),
        lambda _: (200, "<html>secret text</html>"),
        lambda _: (200, []),
        lambda _: (200, {"data": ["secret text"], **LAST}),
        lambda _: (200, {"data": [{"secret text": 1}], **LAST}),
        lambda path: (404, {}) if "analytics" in path else (200, {"data": [{"results": "secret text"}], **LAST}),
        lambda path: (404, {}) if "analytics" in path else (200, {"data": [], "has_more": True, "next_page": "same"}),
        lambda path: (404, {}) if "analytics" in path else (200, "<html>secret text</html>"),
    ],
)
def test_an_answer_that_is_no_bill_is_one_line(serve: Callable[[Answer], str], answer: Answer) -> None:
    with pytest.raises(ConfigurationError, match="not a bill as the Usage and Cost API sends it") as raised:
        read(serve(answer))
    assert "secret" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the bill is refused (401): the key needs the scope"),
        (403, "the bill is refused (403): the key needs the scope"),
        (429, "the API answers 429: try again in some minutes"),
        (500, "the API answers 500: try again in some minutes"),
    ],
)
def test_a_refusal_says_what_to_do(serve: Callable[[Answer], str], status: int, message: str) -> None:
    asked = []

    def answer(path: str) -> tuple[int, Any]:
        asked.append(path)
        return status, {"type": "error", "error": {"type": "api_error", "message": "secret text"}}

    with pytest.raises(ConfigurationError) as raised:
        read(serve(answer))
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    # the SDK tries twice again where that may help
    assert len(asked) == {401: 1, 403: 2, 429: 3, 500: 3}[status]


def test_of_a_bill_in_another_currency_only_tokens_are_compared(serve: Callable[[Answer], str]) -> None:
    found = read(serve(bill(cost={"currency": "EUR"})))
    compared = compare({}, found, (START, START + HOUR))
    shown = as_json(compared)
    assert (shown["currency"], shown["has_list_price"], shown["paid_usd"]) == ("EUR", False, None)
    assert shown["billed"] == {"tokens": 211.0, "usd": 0.0}
    said = io.StringIO()
    Console(file=said, width=120).print(table(compared))
    assert "The bill is in EUR: dollars cannot be compared with it" in said.getvalue()


def test_watch_outlives_answers_of_any_kind_and_stops_while_a_server_is_silent(
    serve: Callable[[Answer], str], caplog: pytest.LogCaptureFixture
) -> None:
    asked, goes_on, stop = threading.Event(), threading.Event(), threading.Event()
    failures = iter(["<html>", "<html>"])

    def prometheus(_: str) -> tuple[int, Any]:
        body = next(failures, None)
        if body is None:
            asked.set()
            goes_on.wait(60)
        return 200, body or ""

    source = Prometheus(serve(prometheus))
    with analytics.client(SECRET, serve(bill())) as api:
        sources = watch.Sources(source, api, PriceBook.load(), analytics.Filters(), Tolerances())
        schedule = watch.Schedule(HOUR, HOUR, 0)
        running = threading.Thread(target=watch.run, args=(sources, schedule, "127.0.0.1", 0, stop))
        running.start()
        assert asked.wait(60)
        stop.set()
        running.join(30)
        assert not running.is_alive()
        goes_on.set()
    assert caplog.text.count("the response is not from a Prometheus") == 2
