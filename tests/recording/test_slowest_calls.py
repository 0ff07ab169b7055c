"""The bench of the slowest calls, in a short form."""

from __future__ import annotations

from bench.speed import slowest_calls


def test_every_way_is_measured_beside_the_plain_client() -> None:
    found = slowest_calls.measured(1, rounds=1, calls=40)
    assert list(found) == [
        "plain client",
        "written at once",
        "every 128th call writes",
        "a server's thread writes",
    ]
    assert all(0 < one.p50 <= one.p99 <= one.p999 for one in found.values())
