from __future__ import annotations

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.recording.inflight import Inflight, Started, by_place


def test_number_and_oldest_age_by_place():
    inflight = Inflight()
    inflight.begin(1, Started("opus", "chat", 100.0))
    inflight.begin(2, Started("opus", "chat", 130.0))
    inflight.begin(3, Started("opus", "agent", 150.0))
    inflight.end(3)
    inflight.end(4)
    places = [("opus", "chat"), ("opus", "agent")]
    assert by_place(inflight.snapshot(), 160.0, places) == {("opus", "chat"): (2, 60.0), ("opus", "agent"): (0, 0.0)}


def test_a_stall_is_visible_while_it_lasts(recorder, samples, clock):
    recorder.begin(7, "claude-opus-5-5", Attribution("chat", "acme"))
    clock.now += 300
    assert samples("anthropic_inflight_requests", feature="chat") == 1
    assert samples("anthropic_oldest_inflight_request_age_seconds", feature="chat") == 300
    recorder.inflight.end(7)
    assert samples("anthropic_inflight_requests", feature="chat") == 0
    assert samples("anthropic_oldest_inflight_request_age_seconds", feature="chat") == 0
