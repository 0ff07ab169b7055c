"""Bad input: one clear error before anything runs, or a counted failure beside a call that stays as it is.

A threshold that is not PromQL is in `test_check.py`, an edited price file in `test_live_prices.py`; more damage, at
random, in `test_fuzz.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from anthropic_exporter import ConfigurationError, Recorder, attribution, serve
from anthropic_exporter.simulator.fake_api import FakeApi, Scripted
from bodies import ASK, USAGE, answer, events, streamed
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")


@pytest.fixture
def recorder(registry: CollectorRegistry, clock: Clock) -> Recorder:
    """As an application has it: what fails of ours is counted and not raised."""
    return Recorder(registry=registry, clock=clock)


@pytest.fixture
def alike(fake_api: FakeApi, sdk_client: Anthropic, client: Anthropic) -> Callable[..., list[Any]]:
    """Plays one answer to a bare client and to a recorded one; what both saw, having seen that it is the same."""

    def play(scripted: Scripted, **asked: bool) -> list[Any]:
        fake_api.push(scripted, scripted)
        bare, recorded = seen(sdk_client, asked), seen(client, asked)
        assert recorded == bare
        return recorded

    return play


def seen(client: Anthropic, asked: dict[str, bool]) -> list[Any]:
    """What the application gets: the message, or its events and the exception that ended them."""
    got: list[Any] = []
    try:
        result = client.messages.create(**ASK, **asked)  # type: ignore[call-overload]
        got.extend(part.model_dump(warnings=False) for part in (result if asked.get("stream") else [result]))
    except Exception as error:  # noqa: BLE001 -- whatever it is, it has to be the same
        got.append((type(error), str(error)))
    return got


def test_an_unknown_model_has_tokens_without_dollars(alike: Callable[..., list[Any]], samples: Samples) -> None:
    (message,) = alike(answer(model="claude-of-tomorrow"))
    assert message["model"] == "claude-of-tomorrow"
    assert samples("anthropic_tokens_total", model="claude-of-tomorrow") == 2150
    assert samples("anthropic_exporter_unpriced_tokens_total", model="claude-of-tomorrow") == 2150
    assert not samples("anthropic_cost_usd_total")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"output_tokens": 0}, 0),
        ({"input_tokens": 100, "output_tokens": 0}, 100),
        (dict.fromkeys(USAGE), 0),
        (USAGE | {"cache_read_input_tokens": None}, 150),
        (USAGE | {"input_tokens": -100}, 2050),
        (USAGE | {"input_tokens": "many"}, 2050),
    ],
    ids=["nothing", "one field", "nulls", "one null", "negative", "text"],
)
def test_usage_that_lacks_something_counts_what_is_there(
    alike: Callable[..., list[Any]], samples: Samples, usage: dict[str, Any], tokens: int, stream: bool
) -> None:
    alike(streamed(events(usage)), stream=True) if stream else alike(answer(usage))
    assert samples("anthropic_tokens_total") == tokens
    assert samples("anthropic_requests_total") == 1


@pytest.mark.parametrize("usage", [None, "none", [], 7], ids=repr)
def test_usage_that_is_not_an_object_counts_the_request(
    alike: Callable[..., list[Any]], samples: Samples, usage: int | list[Any] | str | None
) -> None:
    alike(answer(usage))
    assert (samples("anthropic_requests_total"), samples("anthropic_tokens_total") or 0) == (1, 0)


@pytest.mark.parametrize("place", [0, 1, 4, 8])
@pytest.mark.parametrize(
    "broken",
    [
        b"data: {nothing\n\n",
        b"\xff\xfe\n\n",
        b"event: content_block_delta\ndata: {\n\n",
        b"event: message_delta\ndata: [\n\n",
    ],
    ids=["no name", "no text", "no content", "no usage"],
)
def test_a_malformed_event_fails_as_the_sdk_lets_it_fail_and_the_request_counts_once(
    alike: Callable[..., list[Any]], samples: Samples, broken: bytes, place: int
) -> None:
    parts = events()
    alike(streamed([*parts[:place], broken, *parts[place:]]), stream=True)
    assert samples("anthropic_requests_total") == 1
    assert samples("anthropic_inflight_requests") == 0


def test_an_event_of_ours_that_cannot_be_read_is_counted_and_logged_without_its_text(
    alike: Callable[..., list[Any]], samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    *parts, _stop = events()
    got = alike(streamed([*parts, b'event: message_delta\ndata: {"a customer": \n\n']), stream=True)
    assert got[-1][0] is json.JSONDecodeError
    assert samples("anthropic_exporter_record_errors_total", stage="stream") == 1
    (line,) = caplog.messages
    assert line.startswith("recording failed at stage stream: ValueError")
    assert "customer" not in line


@pytest.mark.parametrize(
    "value", ["x" * 10_240, 'say "hi"\nthere\\', "naïve ✓", ""], ids=["10 kB", "quotes", "utf8", "empty"]
)
def test_any_label_value_leaves_the_call_alone_and_the_text_readable(
    fake_api: FakeApi, recorder: Recorder, alike: Callable[..., list[Any]], value: str
) -> None:
    with attribution(feature=value, user=value):
        (message,) = alike(answer())
    assert message["usage"]["output_tokens"] == 50
    shown = value if len(value) <= 120 else "other"
    for form, read in ((False, text_string_to_metric_families), (True, openmetrics.text_string_to_metric_families)):
        families = read(recorder.render(openmetrics=form).decode())
        found = [
            s for family in families if family.name == "anthropic_requests" for s in family.samples if s.value == 1
        ]
        assert [(s.labels["feature"], s.labels["user"]) for s in found] == [(shown, shown)]


def test_a_registry_that_is_taken_by_somebody_else_is_one_line() -> None:
    registry = CollectorRegistry()
    Gauge("anthropic_inflight_requests", "somebody else's", registry=registry)
    with pytest.raises(ConfigurationError, match="already contains anthropic_") as caught:
        Recorder(registry=registry)
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_one_line_and_calls_continue(
    recorder: Recorder, alike: Callable[..., list[Any]], samples: Samples
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port}: the port is in use"
        ) as caught:
            serve(recorder, port=port, required=True)
    assert "\n" not in str(caught.value)
    alike(answer())
    assert samples("anthropic_tokens_total", type="output") == 50


def test_a_price_file_with_a_typo_is_one_line_before_anything_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "prices.yml"
    path.write_text("models:\n  claude-opus-5-5:\n    pries: []\n")
    with pytest.raises(ConfigurationError, match=rf"^{path}:3: .*pries") as caught:
        Recorder(registry=None, prices=path)
    assert "\n" not in str(caught.value)
