"""Which label a request has before, while and after it is answered; and what never becomes a label."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, attribution
from anthropic_exporter.call import OUTCOMES
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.recording.served_models import CachedThreads, ServedModels
from anthropic_exporter.simulator.fake_api import FakeApi
from anthropic_exporter.wire.model_ids import identify, is_opaque, model_label, served_label
from bodies import ASK, USAGE, answer, refused
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

SERVED = "claude-sonnet-4-6-20260301"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"


def failing(client: anthropic.Anthropic, **ask: str) -> None:
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASK | ask)


def test_failures_and_answers_of_one_requested_id_share_the_label_of_the_model_that_serves(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    busy = refused(529, "overloaded_error")
    fake_api.push(*[answer(model=SERVED)] * 24, busy)
    for _ in range(24):
        client.messages.create(**ASK | {"model": "claude-sonnet-4-6"})
    failing(client, model="claude-sonnet-4-6")
    assert samples("anthropic_requests_total", model=SERVED, outcome="success") == 24
    assert samples("anthropic_requests_total", model=SERVED, outcome="overloaded_error") == 1
    assert samples("anthropic_requests_total", outcome="overloaded_error") == 1


def test_requests_in_flight_have_the_same_label(recorder: Recorder, samples: Samples) -> None:
    recorder.served.learn("claude-sonnet-4-6", SERVED)
    with attribution(feature="chat"):
        attempt = Attempt(recorder, {"model": "claude-sonnet-4-6"}, 0, None)
    assert samples("anthropic_inflight_requests", model=SERVED, feature="chat") == 1
    assert recorder.place_of("claude-sonnet-4-6", "chat") == (SERVED, "chat")
    attempt.closed()
    assert samples("anthropic_requests_total", model=SERVED, outcome="abandoned") == 1


def test_a_blocked_request_has_the_same_label(recorder: Recorder, samples: Samples) -> None:
    recorder.served.learn(ARN, "claude-opus-5-5")
    with attribution(feature="chat") as where:
        recorder.blocked(ARN, where)
    assert samples("anthropic_requests_total", model="claude-opus-5-5", outcome="blocked") == 1


def test_a_fallback_teaches_nothing_about_the_model_that_was_asked_for(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    iterations = [
        {"type": "message", "input_tokens": 5, "output_tokens": 0, "model": "claude-fable-5-2"},
        {"type": "fallback_message", "input_tokens": 5, "output_tokens": 9, "model": "claude-opus-5-5"},
    ]
    fake_api.push(answer(USAGE | {"iterations": iterations}), refused(529, "overloaded_error"))
    client.messages.create(**ASK | {"model": "claude-fable-5-2"})
    failing(client, model="claude-fable-5-2")
    assert samples("anthropic_requests_total", model="claude-fable-5-2", outcome="overloaded_error") == 1


OPAQUE = [
    ARN,
    "projects/123456789012/locations/us-east5/endpoints/998877",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/claude-of-ours",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/claude-opus-5-5",
    "profile-of-123456789012",
    "https://europe-west1-aiplatform.googleapis.com/v1/projects/acme-prod/locations/eu/endpoints/chat",
    "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabcdef123456",
    "/subscriptions/8f14e45f-ceea-467f-9d0b-1f2e3d4c5b6a/deployments/chat",
    "deployment-8F14E45F-CEEA-467F-9D0B-1F2E3D4C5B6A",
    "dep-01HZX3Y4Z5A6B7C8D9E0F1G2H3",
    "claude-01hzx3y4z5a6b7c8d9e0f1g2h3",
    "d41d8cd98f00b204e9800998ecf8427e",
]


@pytest.mark.parametrize("name", OPAQUE)
def test_an_id_that_names_no_model_is_an_inference_profile(name: str) -> None:
    assert is_opaque(name)
    assert model_label(name) == served_label(name) == "inference-profile"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("claude-sonnet-4-6", "claude-sonnet-4-6"),
        ("claude-sonnet-4-6-20260301", "claude-sonnet-4-6-20260301"),
        ("us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5-v1:0",
            "claude-opus-5-5",
        ),
        ("projects/p/locations/eu/publishers/anthropic/models/claude-opus-5-5@20260601", "claude-opus-5-5"),
        ("anthropic/claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("gateway/anthropic:claude-opus-5-5", "claude-opus-5-5"),
        (
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p/models/claude-opus-5-5:rawPredict",
            "claude-opus-5-5",
        ),
        ("us.anthropic.claude-opus-5-5-v1%3A0", "claude-opus-5-5"),
        ("claude-opus-4-0", "claude-opus-4"),
        (" Claude-Opus-5-5\n", "claude-opus-5-5"),
        (" deepseek-r1-distill-qwen-32b ", "deepseek-r1-distill-qwen-32b"),
        ("claude-opus-5-5-fast", "claude-opus-5-5"),
        ("my-deployment", "my-deployment"),
        ("", ""),
    ],
)
def test_until_something_answers_an_id_has_its_bare_name(name: str, label: str) -> None:
    assert model_label(name) == label


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("us.anthropic.claude-opus-5-5", "regional"),
        ("anthropic.claude-opus-5-5", "regional"),
        ("bedrock/eu.anthropic.claude-opus-5-5-v1:0", "regional"),
        ("global.anthropic.claude-opus-5-5", "global"),
        ("us-gov.anthropic.claude-opus-5-5", "us_gov"),
        ("us.anthropic.claude-opus-5-5-v1%3A0", "regional"),
        ("arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Feu.anthropic.claude-opus-5-5", "regional"),
        ("gateway/bedrock:us.anthropic.claude-opus-5-5", "regional"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-opus-5-5", "us_gov"),
        ("projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-5-5", "regional"),
        ("projects/p/locations/global/publishers/anthropic/models/claude-opus-5-5", "global"),
        ("claude-opus-5-5", ""),
    ],
)
def test_an_id_says_where_it_runs(name: str, endpoint: str) -> None:
    assert identify(name).endpoint == endpoint


@pytest.mark.parametrize(
    "name",
    [
        "//aiplatform.googleapis.com/projects/acme-prod/locations/eu/publishers/anthropic/models/claude-opus-5-5",
        "/subscriptions/8f14e45f-ceea-467f-9d0b-1f2e3d4c5b6a/deployments/claude-opus-5-5",
        "bedrock/arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5-5",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-opus-5-5",
        "PROJECTS/ACME-PROD/LOCATIONS/EU/PUBLISHERS/ANTHROPIC/MODELS/CLAUDE-OPUS-5-5",
    ],
)
def test_a_served_name_with_an_account_in_it_is_the_model_alone(name: Any) -> None:
    assert served_label(name) == "claude-opus-5-5"


def test_what_is_remembered_is_bounded() -> None:
    served, threads = ServedModels(), CachedThreads()
    for number in range(10_000):
        served.learn(f"id-{number}", "claude-opus-5-5")
        threads.add(f"msg_{number}")
    assert served.label("id-9999") == "claude-opus-5-5"
    assert served.label("id-0") == "id-0"
    assert len(served._labels) == 1000
    assert "msg_9999" in threads
    assert "msg_0" not in threads
    assert len(threads._ids) == 4096


@pytest.mark.skipif(not hasattr(anthropic.resources.beta.messages.Messages, "thread"), reason="an SDK without threads")
def test_later_turns_of_a_thread_are_asked_for_as_its_first_one_was(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    def turn(number: int, **usage: int) -> None:
        fake_api.push(answer({"input_tokens": 20_000, "output_tokens": 5} | usage, id=f"msg_{number}"))
        thread = {"type": "continue", "previous_message_id": f"msg_{number - 1}"} if number else {"type": "create"}
        system = [] if number else [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
        client.messages.create(**ASK, system=system, extra_body={"thread": thread})  # type: ignore[arg-type]

    for number in range(4):
        turn(number)
    assert samples("anthropic_cache_requests_total", result="ineligible") == 4
    turn(4, cache_creation_input_tokens=4000)
    turn(5, cache_read_input_tokens=4000)
    assert samples("anthropic_cache_requests_total", result="miss") == 1
    assert samples("anthropic_cache_requests_total", result="hit") == 1
    assert samples("anthropic_cache_requests_total", result="unasked") == 0


# -- words


def test_free_text_of_a_server_is_not_an_outcome_and_folds_none_of_ours(recorder: Recorder, samples: Samples) -> None:
    for number in range(60):
        recorder.record(Call("claude-opus-5-5", f"free text {number}"))
    for outcome in OUTCOMES:
        recorder.record(Call("claude-opus-5-5", outcome))
    assert samples("anthropic_requests_total", outcome="other") == 60
    assert [samples("anthropic_requests_total", outcome=outcome) for outcome in OUTCOMES] == [1] * len(OUTCOMES)


def test_an_overflow_is_counted_once_a_record(recorder: Recorder, samples: Samples) -> None:
    for number in range(150):
        with attribution(feature=f"feature {number}"):
            recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 1, "output_tokens": 1})
    assert samples("anthropic_exporter_label_overflow_total", label="feature") == 50


def test_an_overflow_of_an_attempt_is_counted_once(fake_api: FakeApi, client_options: dict[str, Any]) -> None:
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry, features=["chat"])
    fake_api.push(answer())
    with (
        anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client,
        attribution(feature="not let in"),
    ):
        client.messages.create(**ASK)
    assert Samples(registry)("anthropic_exporter_label_overflow_total", label="feature") == 1


def test_the_repr_of_a_call_holds_nothing_that_a_server_sent(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    seen: list[Any] = []
    recorder.subscribe(seen.append)
    odd = USAGE | {"inference_geo": "secret geo", "server_tool_use": {"secret_tool_requests": 1}}
    one = answer(odd, model="secret model", stop_reason="secret reason")
    one.headers["anthropic-ratelimit-tokens-limit"] = "secret header"  # type: ignore[index]
    fake_api.push(one)
    client.messages.create(**ASK)
    assert "secret" not in repr(seen[0])
    assert repr(seen[0]).startswith("Call(model='...', outcome='success', feature='', tokens=2150, requests=1,")
