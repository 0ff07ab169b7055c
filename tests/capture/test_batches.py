"""Batch results: each counted once, at batch prices of the day the batch was made, and passed on as they come."""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic._decoders.jsonl import JSONLDecoder
from anthropic.types.messages import MessageBatchIndividualResponse
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture.batches import batch_of_results, is_about_batches
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from bodies import USAGE, batch, result
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

DECODER = JSONLDecoder[MessageBatchIndividualResponse]
JSONL = {"content-type": "application/x-jsonl"}
ERRORED = json.dumps({"custom_id": "c", "result": {"type": "errored", "error": {"type": "error"}}}).encode() + b"\n"
LINES = (result("a"), result("b"), ERRORED)
#: Half of 0.0018, for two results.
TOKENS, DOLLARS = 4300, 0.0018


def looked_up(fake_api: FakeApi, **fields: str) -> Scripted:
    return Scripted.of(json.dumps(batch(base_url=fake_api.base_url, **fields)).encode())


def lines(*parts: bytes, **headers: str) -> Scripted:
    return Scripted(200, JSONL | headers, tuple(Chunk(part) for part in parts))


def read(client: Anthropic, identifier: str = "msgbatch_1") -> list[str]:
    return [one.custom_id for one in client.messages.batches.results(identifier)]


def test_results_are_counted_at_batch_prices_and_are_not_requests(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    fake_api.push(looked_up(fake_api), lines(*LINES))
    with attribution(feature="nightly"):
        assert read(client) == ["a", "b", "c"]
    assert samples("anthropic_tokens_total", tier="batch", feature="nightly") == TOKENS
    assert samples("anthropic_tokens_total") == TOKENS
    assert samples("anthropic_cost_usd_total", tier="batch") == pytest.approx(DOLLARS, rel=1e-12)
    assert samples("anthropic_requests_total") is None
    assert samples("anthropic_request_duration_seconds_count") == 0
    assert samples("anthropic_cache_requests_total") == 0


async def test_async_results_are_counted_the_same_way(
    fake_api: FakeApi, async_client: AsyncAnthropic, samples: Samples
) -> None:
    fake_api.push(looked_up(fake_api), lines(*LINES))
    found = [one.custom_id async for one in await async_client.messages.batches.results("msgbatch_1")]
    assert found == ["a", "b", "c"]
    assert samples("anthropic_tokens_total", tier="batch") == TOKENS


def test_reading_results_twice_counts_them_once(fake_api: FakeApi, client: Anthropic, samples: Samples) -> None:
    for _ in range(2):
        fake_api.push(looked_up(fake_api), lines(*LINES))
        assert read(client) == ["a", "b", "c"]
    assert samples("anthropic_tokens_total") == TOKENS


async def test_reading_results_again_by_an_async_client_counts_nothing_twice(
    fake_api: FakeApi, client: Anthropic, async_client: AsyncAnthropic, samples: Samples
) -> None:
    for _ in range(3):
        fake_api.push(looked_up(fake_api), lines(*LINES))
    read(client)
    for resource in (async_client.messages.batches, async_client.beta.messages.batches):
        assert len([one async for one in await resource.results("msgbatch_1")]) == 3
    assert samples("anthropic_tokens_total") == TOKENS


def test_threads_that_read_one_batch_at_the_same_time_count_it_once(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    """Each result passes every thread, in another order each time; whichever sees it first counts it."""
    many = [result(f"r{number}") for number in range(200)]
    together = threading.Barrier(4)

    def read_all() -> int:
        together.wait(10)
        return len(list(client.get(path, cast_to=DECODER, stream=False)))

    path = "/v1/messages/batches/msgbatch_1/results"
    fake_api.push(*[lines(*(many[start:] + many[:start])) for start in (0, 50, 100, 150)])
    with ThreadPoolExecutor(4) as pool:
        assert [done.result(30) for done in [pool.submit(read_all) for _ in range(4)]] == [200] * 4
    assert samples("anthropic_tokens_total") == 200 * 2150


def test_each_recorder_counts_a_batch_for_itself(fake_api: FakeApi, client: Anthropic, samples: Samples) -> None:
    other = Samples(CollectorRegistry())
    second = Recorder(registry=other.registry, strict=True)
    both = client.with_options(middleware=[*client.middleware, second.middleware()])
    for _ in range(2):
        fake_api.push(looked_up(fake_api), lines(*LINES))
        read(both)
    assert samples("anthropic_tokens_total") == other("anthropic_tokens_total") == TOKENS


def test_the_same_custom_id_in_another_batch_is_another_result(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    for identifier in ("msgbatch_1", "msgbatch_2"):
        fake_api.push(looked_up(fake_api, identifier=identifier), lines(*LINES))
        read(client, identifier)
    assert samples("anthropic_tokens_total") == 2 * TOKENS


def test_beta_results_are_the_same_results(fake_api: FakeApi, client: Anthropic, samples: Samples) -> None:
    fake_api.push(looked_up(fake_api), lines(*LINES), looked_up(fake_api), lines(*LINES))
    read(client)
    assert len(list(client.beta.messages.batches.results("msgbatch_1"))) == 3
    assert samples("anthropic_tokens_total") == TOKENS


def test_results_reach_the_application_while_the_rest_is_still_on_its_way(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    """The SDK itself hands results on in portions of 64 KB; half-read results count what passed, the rest later."""
    long = result("b", content=[{"type": "text", "text": "long" * 50_000}])
    fake_api.push(looked_up(fake_api), Scripted(200, JSONL, (Chunk(LINES[0] + long), Chunk(result("d"), 3600.0))))
    results = client.messages.batches.results("msgbatch_1")
    assert next(results).custom_id == "a"
    results.http_response.close()
    assert 0 < samples("anthropic_tokens_total") <= TOKENS
    fake_api.push(looked_up(fake_api), lines(*LINES, result("d")))
    read(client)
    assert samples("anthropic_tokens_total") == TOKENS + 2150


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_any_chopping_of_the_lines_counts_the_same(
    fake_api: FakeApi, client: Anthropic, samples: Samples, size: int
) -> None:
    body = b"".join(LINES).rstrip(b"\n")  # the last line may lack its end
    fake_api.push(looked_up(fake_api), lines(*(body[at : at + size] for at in range(0, len(body), size))))
    assert read(client) == ["a", "b", "c"]
    assert samples("anthropic_tokens_total") == TOKENS


def test_packed_results_are_read(fake_api: FakeApi, client: Anthropic, samples: Samples) -> None:
    packed = lines(gzip.compress(b"".join(LINES)), **{"content-encoding": "gzip"})
    fake_api.push(looked_up(fake_api), packed)
    assert read(client) == ["a", "b", "c"]
    assert samples("anthropic_tokens_total") == TOKENS


@pytest.mark.parametrize(("made", "usd"), [("2026-10-06T10:00:00Z", 0.1), ("2026-10-07T10:00:00Z", 0.05)])
def test_the_price_is_that_of_the_day_the_batch_was_made(
    fake_api: FakeApi, client: Anthropic, samples: Samples, made: str, usd: float
) -> None:
    """Reading a million tokens from the cache of Sonnet 5.5 cost 0.20 dollars until 2026-10-06, then 0.10."""
    usage = {"input_tokens": 0, "cache_read_input_tokens": 1_000_000, "output_tokens": 0}
    fake_api.push(looked_up(fake_api, created_at=made), lines(result("a", usage, model="claude-sonnet-5-5")))
    read(client)
    assert samples("anthropic_cost_usd_total") == pytest.approx(usd, rel=1e-12)


def test_a_line_that_cannot_be_read_is_counted_and_does_not_lose_the_next(
    fake_api: FakeApi, registry: CollectorRegistry, client: Anthropic
) -> None:
    samples = Samples(registry)
    client.middleware[0].recorder._faults.strict = False  # type: ignore[union-attr]
    fake_api.push(looked_up(fake_api), lines(b'{"custom_id": "x", "result": null}\n', LINES[0]))
    assert read(client) == ["x", "a"]
    assert samples("anthropic_tokens_total") == TOKENS // 2
    assert samples("anthropic_exporter_record_errors_total", stage="batch") == 1


def test_a_batch_that_is_made_or_looked_up_costs_nothing(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    asked = {"custom_id": "a", "params": {"model": "claude-opus-5-5", "max_tokens": 5, "messages": []}}
    fake_api.push(looked_up(fake_api), looked_up(fake_api))
    client.messages.batches.create(requests=[asked])  # type: ignore[list-item]
    client.messages.batches.retrieve("msgbatch_1")
    assert samples("anthropic_requests_total") is None
    assert samples("anthropic_tokens_total") is None


def test_results_remembered_are_those_of_this_process(registry: CollectorRegistry) -> None:
    recorder = Recorder(registry=registry)
    assert recorder.seen.first_time("msgbatch_1", "a")
    recorder._reset()  # what a forked child does first
    assert recorder.seen.first_time("msgbatch_1", "a")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        ("https://api.anthropic.com/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        ("/v1/messages/batches/msgbatch_1", ""),
        ("/v1/messages/batches", ""),
        ("/v1/files/results", ""),
    ],
)
def test_the_path_names_the_batch(path: str, found: str) -> None:
    assert batch_of_results(path) == found
    assert is_about_batches(path) == ("batches" in path)


def test_usage_says_its_tier_but_results_are_batch_whatever_it_says(
    fake_api: FakeApi, client: Anthropic, samples: Samples
) -> None:
    line = result("a", USAGE).replace(b'"batch"', b'"standard"')
    fake_api.push(looked_up(fake_api), lines(line))
    read(client)
    assert samples("anthropic_tokens_total", tier="batch") == 2150
