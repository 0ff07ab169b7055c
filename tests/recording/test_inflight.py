from __future__ import annotations

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.recording.inflight import Inflight, Started, by_place
from support import Clock, Samples


def test_number_and_oldest_age_by_place() -> None:
    inflight = Inflight()
    inflight.begin(1, Started("opus", "chat", "", 100.0))
    inflight.begin(2, Started("opus", "chat", "", 130.0))
    inflight.begin(3, Started("opus", "agent", "", 150.0))
    inflight.end(3)
    inflight.end(4)
    places = [("opus", "chat"), ("opus", "agent")]
    assert by_place(inflight.snapshot(), 160.0, places) == {("opus", "chat"): (2, 60.0), ("opus", "agent"): (0, 0.0)}


def test_a_stall_is_visible_while_it_lasts(recorder: Recorder, samples: Samples, clock: Clock) -> None:
    recorder.begin(7, "claude-opus-5-5", Attribution("chat", "acme"))
    clock.now += 300
    assert samples("anthropic_inflight_requests", feature="chat") == 1
    assert samples("anthropic_oldest_inflight_request_age_seconds", feature="chat") == 300
    recorder.inflight.end(7)
    assert samples("anthropic_inflight_requests", feature="chat") == 0
    assert samples("anthropic_oldest_inflight_request_age_seconds", feature="chat") == 0


def test_silence_is_counted_from_the_last_byte_not_from_the_start(
    recorder: Recorder, samples: Samples, clock: Clock
) -> None:
    def silence() -> float:
        return samples("anthropic_longest_inflight_silence_seconds", feature="chat")

    with attribution(feature="chat"):
        attempt = Attempt(recorder, {"model": "claude-opus-5-5", "stream": True}, 0, None)
    clock.now += 30
    assert silence() == 30
    attempt.head(200, Headers(), b"/v1/messages", buffered=False)
    assert silence() == 0
    clock.now += 10
    assert silence() == 10
    attempt.feed(b"event: ping\ndata: {}\n\n")
    clock.now += 5
    assert silence() == 5
    for _ in range(50):  # a long stream that delivers, whose chunks are only kept
        clock.now += 20
        attempt.tail.append(b"event: content_block_delta\n")
        assert silence() == 0
    clock.now += 90
    assert silence() == 90
    assert samples("anthropic_oldest_inflight_request_age_seconds", feature="chat") == 1135
    attempt.compact()
    attempt.ended()
    assert silence() == 0
    assert recorder.inflight._noticed == {}


class Headers:
    raw = ()
