"""How a stream can end, sync and async: each has its outcome, and the surely spent is told from the estimated."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.capture import tee as tees
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.simulator.fake_api.script import ReceivedRequest
from anthropic_exporter.simulator.fake_api.wire import event
from anthropic_exporter.wire import stream as streams
from bodies import ASK, MODEL, USAGE, answer, delta, events, streamed
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

PARTS = events(deltas=40)
#: Up to the eleventh event: `message_start`, the block's start, a ping and eight deltas of six letters.
BEGUN = PARTS[:11]
SSE = {"content-type": "text/event-stream; charset=utf-8"}


LIBRARY = "httpx2" if hasattr(anthropic._base_client, "httpx2") else "httpx"


class Stream(importlib.import_module(LIBRARY).SyncByteStream):  # type: ignore[misc]
    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[Any]:
        yield from self.chunks


class Watching:
    """What the tee tells an attempt, with a real fold that keeps everything from the first chunk on."""

    def __init__(self, fold: streams.BodyFold) -> None:
        self.fold = fold

    @property
    def tail(self) -> list[bytes]:
        return self.fold.tail

    def feed(self, chunk: bytes) -> bool:
        self.fold.feed(chunk)
        return True

    def compact(self) -> list[Any]:
        self.fold.compact()
        return self.fold.tail

    def ended(self) -> None:
        self.closed()

    def closed(self) -> None:
        self.fold.tail.clear()


def endless() -> Scripted:
    """A stream that begins and then says nothing more for an hour."""
    return Scripted(200, SSE, (Chunk(b"".join(BEGUN)), Chunk(b"", 3600.0)))


def first_alone(encoding: str) -> Scripted:
    """A stream whose first event is followed by an hour of silence."""
    first, headers = PARTS[0], SSE
    if encoding:
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        first, headers = packer.compress(first) + packer.flush(zlib.Z_SYNC_FLUSH), SSE | {"content-encoding": encoding}
    return Scripted(200, headers, (Chunk(first), Chunk(b"", 3600.0)))


BEGINNINGS = pytest.mark.parametrize("encoding", ["", "gzip"])


def unfinished(samples: Samples, outcome: str, *, estimated: int = 8) -> None:
    """What a stream that began and did not finish leaves behind."""
    assert samples("anthropic_requests_total", outcome=outcome) == 1
    assert samples("anthropic_requests_total") == 1
    assert samples("anthropic_tokens_total", type="input") == 100
    assert samples("anthropic_tokens_total", type="cache_read") == 2000
    assert samples("anthropic_tokens_total", type="output") == 0
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.0008, rel=1e-12)
    assert samples("anthropic_exporter_estimated_tokens_total") == estimated
    assert samples("anthropic_inflight_requests") == 0


class TestSync:
    def test_a_complete_stream_is_a_success(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        for _ in client.messages.create(**ASK, stream=True):
            pass
        assert samples("anthropic_requests_total", outcome="success") == 1
        assert samples("anthropic_tokens_total", type="output") == 50
        assert samples("anthropic_exporter_estimated_tokens_total") == 0
        assert samples("anthropic_time_to_first_token_seconds_count") == 1
        assert samples("anthropic_output_tokens_per_second_count") == 1

    def test_one_that_is_left_after_its_last_event_is_a_success(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed([*PARTS, event("ping"), event("ping")]))
        stream = client.messages.create(**ASK, stream=True)
        for one in stream:
            if one.type == "message_stop":
                break
        stream.close()
        assert samples("anthropic_requests_total", outcome="success") == 1
        assert samples("anthropic_tokens_total", type="output") == 50

    def test_one_that_is_closed_early_is_abandoned(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        stream = client.messages.create(**ASK, stream=True)
        for one in stream:
            if one.type == "content_block_delta":
                break
        assert samples("anthropic_inflight_requests") == 1
        stream.close()
        unfinished(samples, "abandoned")

    def test_a_stream_whose_block_is_left_is_abandoned(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        with client.messages.stream(**ASK) as stream:
            next(iter(stream.text_stream))
        unfinished(samples, "abandoned")

    def test_one_that_is_dropped_is_abandoned(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        stream = client.messages.create(**ASK, stream=True)
        next(iter(stream))
        del stream
        gc.collect()
        unfinished(samples, "abandoned")

    def test_one_that_is_never_iterated_is_abandoned_and_nothing_of_it_is_known(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        stream = client.messages.create(**ASK, stream=True)
        stream.close()
        assert samples("anthropic_requests_total", outcome="abandoned") == 1
        assert samples("anthropic_tokens_total") == 0

    def test_one_that_is_dropped_before_it_is_iterated_is_abandoned(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        client.messages.create(**ASK, stream=True)
        gc.collect()
        assert samples("anthropic_requests_total", outcome="abandoned") == 1
        assert samples("anthropic_inflight_requests") == 0

    def test_a_body_whose_reading_is_left_is_abandoned(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
            next(response.iter_lines())
        unfinished(samples, "abandoned")

    def test_one_that_ends_without_its_last_event_is_truncated(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(BEGUN))
        list(client.messages.create(**ASK, stream=True))
        unfinished(samples, "truncated")

    def test_a_stream_whose_connection_is_cut_is_a_connection_error(
        self, fake_api: FakeApi, client: anthropic.Anthropic, sdk_client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(*[streamed(BEGUN, drop=True)] * 2)
        with pytest.raises(Exception) as recorded:  # noqa: PT011 - which one is the SDK's business
            list(client.messages.create(**ASK, stream=True))
        with pytest.raises(Exception) as plain:  # noqa: PT011 - as above
            list(sdk_client.messages.create(**ASK, stream=True))
        assert type(recorded.value) is type(plain.value)
        assert samples("anthropic_requests_total", outcome="connection_error") == 1
        assert samples("anthropic_tokens_total", type="output") == 0

    def test_an_error_event_after_http_200_goes_by_the_apis_type(
        self, fake_api: FakeApi, client: anthropic.Anthropic, sdk_client: anthropic.Anthropic, samples: Samples
    ) -> None:
        failing = [*BEGUN, event("error", error={"type": "overloaded_error", "message": "no"})]
        fake_api.push(*[streamed(failing)] * 2)
        for one in (client, sdk_client):
            with pytest.raises(anthropic.APIStatusError, match="overloaded"):
                list(one.messages.create(**ASK, stream=True))
        unfinished(samples, "overloaded_error")

    def test_silence_in_the_middle_is_a_timeout(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        with pytest.raises(Exception) as caught:  # noqa: PT011 - httpx's, in some versions the SDK's
            list(client.with_options(timeout=0.3).messages.create(**ASK, stream=True))
        assert "Timeout" in type(caught.value).__name__
        unfinished(samples, "timeout")

    def test_an_exception_of_the_application_between_two_events_is_an_abandoned_stream(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        with pytest.raises(ZeroDivisionError), client.messages.stream(**ASK) as stream:  # noqa: PT012 - the block matters
            for one in stream:
                if one.type == "content_block_delta":
                    1 / 0  # noqa: B018 - what an application may do
        unfinished(samples, "abandoned")

    def test_the_output_counted_until_a_delta_is_exact_and_only_the_rest_is_estimated(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        counted = event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 30})
        fake_api.push(streamed([*BEGUN, counted, delta("four" * 4), delta("four" * 4)]))
        list(client.messages.create(**ASK, stream=True))
        assert samples("anthropic_tokens_total", type="output") == 30
        assert samples("anthropic_exporter_estimated_tokens_total") == 8

    @pytest.mark.parametrize("whole", [True, False])
    def test_gzip_is_read_and_passed_on_as_it_came(
        self,
        fake_api: FakeApi,
        client: anthropic.Anthropic,
        sdk_client: anthropic.Anthropic,
        samples: Samples,
        whole: bool,
    ) -> None:
        packed = streamed(PARTS, packed=True)
        if not whole:  # in pieces of 7 bytes: no piece is an event
            data = packed.body[0].data
            pieces = tuple(Chunk(data[at : at + 7]) for at in range(0, len(data), 7))
            packed = Scripted(200, packed.headers, pieces)
        fake_api.push(packed, packed)
        seen = [[one.to_dict() for one in c.messages.create(**ASK, stream=True)] for c in (client, sdk_client)]
        assert seen[0] == seen[1]
        assert samples("anthropic_tokens_total") == 2150

    def test_a_long_stream_is_read_in_portions_and_counted_the_same_way(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(events(deltas=700)))
        assert len(list(client.messages.create(**ASK, stream=True))) == 705  # the SDK keeps the ping to itself
        assert samples("anthropic_tokens_total", type="output") == 50

    @pytest.mark.parametrize("length", [1, 511, 512, 513, 514, 1024, 1026, 1027, 5000])
    @pytest.mark.parametrize("fold", [streams.BodyFold(expects_stream=True), streams.BodyFold()])
    def test_every_chunk_is_handed_on_however_many_there_are(self, length: int, fold: streams.BodyFold) -> None:
        chunks = [b"%d" % number for number in range(length)]
        assert list(tees.tee(Stream(chunks), Watching(fold), LIBRARY)) == chunks  # type: ignore[arg-type]

    def test_every_chunk_is_handed_on_though_somebody_ended_the_attempt_meanwhile(self) -> None:
        chunks, watching = [b"%d" % number for number in range(2000)], Watching(streams.BodyFold())
        passed = iter(tees.tee(Stream(chunks), watching, LIBRARY))  # type: ignore[arg-type]
        begun = [next(passed) for _ in range(700)]
        watching.tail.clear()
        assert [*begun, *passed] == chunks

    def test_warming_the_cache_is_kept_out_of_all_latencies(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(answer(USAGE | {"output_tokens": 0}, content=[], stop_reason="max_tokens"))
        fake_api.push(streamed(events(USAGE | {"output_tokens": 0}, deltas=1)))
        client.messages.create(**ASK | {"max_tokens": 0})
        list(client.messages.create(**ASK | {"max_tokens": 0}, stream=True))
        assert samples("anthropic_requests_total", outcome="success") == 2
        assert samples("anthropic_request_duration_seconds_count") == 0
        assert samples("anthropic_call_duration_seconds_count") == 0
        assert samples("anthropic_time_to_first_token_seconds_count") == 0
        assert samples("anthropic_output_tokens_per_second_count") is None

    def test_time_to_first_token_ends_at_the_first_content_delta(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        opened, rest = PARTS[:3], PARTS[3:]
        chunks = (Chunk(b"".join(opened)), Chunk(b"".join(rest), 0.2))
        fake_api.push(Scripted(200, SSE, chunks))
        list(client.messages.create(**ASK, stream=True))
        assert 0.2 <= samples("anthropic_time_to_first_token_seconds_sum") < 1.0

    @BEGINNINGS
    def test_the_first_event_is_passed_on_before_the_second_was_sent(
        self, fake_api: FakeApi, client: anthropic.Anthropic, encoding: str
    ) -> None:
        fake_api.push(first_alone(encoding))
        stream = client.with_options(timeout=20).messages.create(**ASK, stream=True)
        assert next(iter(stream)).type == "message_start"
        stream.close()

    def test_the_first_bytes_of_any_body_are_passed_on_before_the_rest_was_sent(
        self, fake_api: FakeApi, client: anthropic.Anthropic
    ) -> None:
        fake_api.push(Scripted(200, {"content-type": "application/json"}, (Chunk(b'{"id"'), Chunk(b"", 3600.0))))
        with client.with_options(timeout=20).messages.with_streaming_response.create(**ASK) as response:
            assert next(response.iter_bytes()) == b'{"id"'

    def test_another_thread_may_read_what_one_thread_asked_for(
        self, fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        stream = client.messages.create(**ASK, stream=True)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        reader.join()
        assert samples("anthropic_requests_total", outcome="success") == 1


class TestAsync:
    async def test_a_complete_stream_is_a_success(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        async for _ in await async_client.messages.create(**ASK, stream=True):
            pass
        assert samples("anthropic_requests_total", outcome="success") == 1
        assert samples("anthropic_tokens_total", type="output") == 50

    async def test_one_that_is_closed_early_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        stream = await async_client.messages.create(**ASK, stream=True)
        async for one in stream:
            if one.type == "content_block_delta":
                break
        await stream.close()
        unfinished(samples, "abandoned")

    async def test_a_stream_whose_block_is_left_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        async with async_client.messages.stream(**ASK) as stream:
            await stream.text_stream.__anext__()
        unfinished(samples, "abandoned")

    async def test_one_that_is_never_iterated_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        stream = await async_client.messages.create(**ASK, stream=True)
        await stream.close()
        assert samples("anthropic_requests_total", outcome="abandoned") == 1

    async def test_one_that_is_dropped_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, recorder: Recorder, samples: Samples
    ) -> None:
        fake_api.push(endless())
        stream = await async_client.messages.create(**ASK, stream=True)
        async for _ in stream:
            break
        del stream, _
        for _ in range(100):  # the loop closes what the collector found, one generator a step
            gc.collect()
            await asyncio.sleep(0)
            if not recorder.inflight.snapshot():
                break
        unfinished(samples, "abandoned")

    @BEGINNINGS
    async def test_the_first_event_is_passed_on_before_the_second_was_sent(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, encoding: str
    ) -> None:
        fake_api.push(first_alone(encoding))
        stream = await async_client.with_options(timeout=20).messages.create(**ASK, stream=True)
        assert (await stream.__anext__()).type == "message_start"
        await stream.close()

    async def test_one_that_is_dropped_before_it_is_iterated_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(PARTS))
        await async_client.messages.create(**ASK, stream=True)
        gc.collect()
        assert samples("anthropic_requests_total", outcome="abandoned") == 1
        assert samples("anthropic_inflight_requests") == 0

    async def test_a_body_whose_reading_is_left_is_abandoned(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        async with async_client.messages.with_streaming_response.create(**ASK, stream=True) as response:
            lines = response.iter_lines()
            await lines.__anext__()
            await lines.aclose()
        unfinished(samples, "abandoned")

    async def test_silence_in_the_middle_is_a_timeout(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        with pytest.raises(Exception) as caught:  # noqa: PT011 - httpx's, in some versions the SDK's
            async for _ in await async_client.with_options(timeout=0.3).messages.create(**ASK, stream=True):
                pass
        assert "Timeout" in type(caught.value).__name__
        unfinished(samples, "timeout")

    async def test_a_task_that_is_cancelled_in_the_middle_is_cancelled(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        begun = asyncio.Event()

        async def read() -> None:
            async for one in await async_client.messages.create(**ASK, stream=True):
                if one.type == "content_block_delta":
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        unfinished(samples, "cancelled")

    async def test_a_task_that_is_cancelled_in_flight_is_cancelled(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        arrived = threading.Event()

        def silent(_: ReceivedRequest) -> Scripted:
            arrived.set()
            return Scripted(200, SSE, (Chunk(b"", 3600.0),))

        fake_api.push(silent)
        task = asyncio.create_task(async_client.messages.create(**ASK))
        await asyncio.to_thread(arrived.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert samples("anthropic_requests_total", outcome="cancelled") == 1
        assert samples("anthropic_inflight_requests") == 0

    async def test_a_deadline_of_the_application_cancels(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(endless())
        stream = await async_client.messages.create(**ASK, stream=True)
        await anext(stream)  # all that the server says came in one piece

        async def read() -> None:
            async for _ in stream:
                pass

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.05)
        unfinished(samples, "cancelled")

    async def test_a_stream_whose_connection_is_cut_is_a_connection_error(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed(BEGUN, drop=True))
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the SDK's business
            async for _ in await async_client.messages.create(**ASK, stream=True):
                pass
        assert samples("anthropic_requests_total", outcome="connection_error") == 1

    async def test_an_error_event_after_http_200_goes_by_the_apis_type(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(streamed([*BEGUN, event("error", error={"type": "api_error", "message": "no"})]))
        with pytest.raises(anthropic.APIStatusError):
            async for _ in await async_client.messages.create(**ASK, stream=True):
                pass
        unfinished(samples, "api_error")

    async def test_a_hundred_streams_at_once_are_each_counted_once(
        self, fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
    ) -> None:
        fake_api.push(*[streamed(events(deltas=5))] * 100)

        async def read() -> list[str]:
            return [one.type async for one in await async_client.messages.create(**ASK, stream=True)]

        seen = await asyncio.gather(*[read() for _ in range(100)])
        assert all(one == seen[0] for one in seen)
        assert samples("anthropic_requests_total", outcome="success") == 100
        assert samples("anthropic_tokens_total") == 215_000


def test_the_model_and_age_of_a_stream_in_flight_are_shown(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples, clock: Clock
) -> None:
    fake_api.push(endless())
    stream = client.messages.create(**ASK, stream=True)
    clock.now += 42
    assert samples("anthropic_oldest_inflight_request_age_seconds", model=MODEL) == 42
    stream.close()
    assert samples("anthropic_oldest_inflight_request_age_seconds", model=MODEL) == 0


class AsyncStream(importlib.import_module(LIBRARY).AsyncByteStream):  # type: ignore[misc]
    def __aiter__(self) -> AsyncIterator[Any]:
        self.read = self._chunks()
        return self.read

    async def _chunks(self) -> AsyncIterator[bytes]:
        for chunk in (b"{", b"}"):
            yield chunk


async def test_generators_are_closed_as_the_http_library_closes_them() -> None:
    """httpx leaves them to the event loop: one that another generator closes too would raise there."""
    inner = AsyncStream()
    chunks = tees.tee(inner, Watching(streams.BodyFold()), LIBRARY).__aiter__()  # type: ignore[arg-type]
    await chunks.__anext__()
    await chunks.aclose()
    assert (inner.read.ag_frame is None) is (LIBRARY == "httpx2")  # type: ignore[attr-defined]
    await inner.read.aclose()  # type: ignore[attr-defined]


def test_closing_takes_no_longer_than_without_us(fake_api: FakeApi, client: anthropic.Anthropic) -> None:
    fake_api.push(endless())
    stream = client.messages.create(**ASK, stream=True)
    next(iter(stream))
    begun = time.perf_counter()
    stream.close()
    assert time.perf_counter() - begun < 10.0
