from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from anthropic_exporter.wire import headers as headings
from anthropic_exporter.wire.decompress import inflater
from anthropic_exporter.wire.headers import heading
from anthropic_exporter.wire.rate_limits import rate_limits


def test_what_an_attempt_needs_is_picked_out_in_any_spelling() -> None:
    found = heading(
        [
            (b"Content-Type", b"application/json"),
            (b"content-encoding", b"gzip"),
            (b"X-Should-Retry", b"true"),
            (b"Anthropic-RateLimit-Tokens-Remaining", b"5000"),
            (b"anthropic-fast-input-tokens-limit", b"7"),
        ]
    )
    assert found[:3] == ("application/json", "gzip", "true")
    limits: dict[str, Any] = {
        b"anthropic-ratelimit-tokens-remaining": b"5000",  # type: ignore[dict-item]
        b"anthropic-fast-input-tokens-limit": b"7",  # type: ignore[dict-item]
    }
    assert found.rate_limit_headers == limits  # type: ignore[comparison-overlap]


def test_ids_are_left_where_they_are() -> None:
    found = heading([(b"anthropic-organization-id", b"org_1"), (b"request-id", b"req_1"), (b"set-cookie", b"secret")])
    assert found == ("", "", "", {})


def test_a_body_may_be_encoded_twice_and_say_so_in_two_headers() -> None:
    found = heading([(b"Content-Encoding", b"deflate"), (b"Content-Encoding", b"gzip")])
    assert inflater(found.content_encoding)(gzip.compress(zlib.compress(b"{}"))) == b"{}"


def test_of_a_limit_that_is_sent_twice_the_last_counts() -> None:
    name = b"anthropic-ratelimit-requests-limit"
    assert heading([(name, b"1"), (name, b"2")]).rate_limit_headers == {name: b"2"}


@pytest.mark.parametrize("spelling", [b"x-%d", b"anthropic-ratelimit-%d"])
def test_a_server_that_invents_names_fills_no_memory(monkeypatch: pytest.MonkeyPatch, spelling: bytes) -> None:
    monkeypatch.setattr(headings, "_wanted", {})
    for number in range(3000):
        heading([(spelling % number, b"")])
    assert len(headings._wanted) == 1000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "Infinity", "many", ""])
def test_a_limit_that_is_not_a_finite_number_is_not_a_limit(value: str) -> None:
    headers = {b"anthropic-ratelimit-tokens-limit": value.encode(), b"anthropic-ratelimit-tokens-remaining": b"7"}
    (limit,) = rate_limits(headers)
    assert (limit.limit, limit.remaining) == (None, 7.0)
