"""A wrong URL is an error at start: one line that says what to do, and no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import ConfigurationError, Recorder, publish
from anthropic_exporter.transport import address
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.opening import open_transport

pytest.importorskip("redis")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "the scheme is not one of redis, rediss"),
        ("queue:6379", "the scheme is not one of"),
        ("http://queue:6379", "the scheme is not one of"),
        ("redis://", "name a host"),
        ("redis://:secret@", "name a host"),
        ("redis://queue:port", "cannot be read"),
        ("redis://queue:99999", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://queue?stream=a b", "use up to 64 letters"),
        ("redis://queue?stream=", "use up to 64 letters"),
        ("redis://queue?shards=0", "not a number from 1 to 256"),
        ("redis://queue?shards=x", "not a number from 1 to 256"),
        ("redis://queue?maxlen=-1", "not a number from 1"),
        ("redis://queue?colour=blue", "unknown option colour"),
        ("redis://queue?ssl_ca_certs=/x", "needs rediss://"),
        ("rediss://queue?ssl_ca_certs=/nowhere/ca.pem", "No such file"),
        ("redis://queue/main", "the path must be the number of a database"),
        (None, "give a URL"),
        # a bare #, ? or / in a password ends the host too early: no part of it is shown, and no other host is asked
        ("redis://user:12#34secret@queue:6379", "write # as %23"),
        ("redis://:12/secret@queue", "write # as %23"),
        ("redis://user:12?secret@queue:6379", "write # as %23"),
        ("redis://user:secret#@queue", "cannot be read"),
        ("nats://user:12/secret@queue", "write # as %23"),
        ("kafka://queue:9092?sasl.password=secret#1", "write # as %23"),
    ],
)
def test_a_wrong_url(url: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        open_transport(parse(url), "one")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"pip install 'anthropic-exporter\[nats\]'"):
        parse("nats://queue")


def test_the_password_is_not_shown() -> None:
    found = parse("redis://user:s3cret@queue:6379/1?stream=team-a&shards=4&maxlen=500")
    assert found.shown == "redis://queue:6379/1"
    assert (found.stream, found.shards, found.most_messages) == ("team-a", 4, 500)
    assert [found.stream_of(2), found.breakers] == ["team-a-2", "team-a-breakers"]


def test_a_plus_in_an_option_is_a_plus() -> None:
    found = parse("kafka://queue:9092?sasl.username=a@b&sasl.password=a%2Bb+c%20%26")
    assert found.options == {"sasl.username": "a@b", "sasl.password": "a+b+c &"}


def test_a_file_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate\n")
    with pytest.raises(ConfigurationError, match=r"ssl_ca_certs: .*ca.pem: holds no certificate \(PEM\)"):
        open_transport(parse(f"rediss://queue?ssl_ca_certs={tmp_path / 'ca.pem'}"), "one")


def test_a_host_has_the_same_shard_everywhere() -> None:
    found = parse("redis://queue?shards=4")
    assert [found.shard_of(f"web-{number}") for number in range(6)] == [2, 0, 2, 0, 3, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"service": ""}, "service is a name"),
        ({"service": "x" * 129}, "service is a name"),
        ({"service": None}, "service is a name"),
        ({"service": "api", "period_seconds": 0}, "period_seconds must be"),
        ({"service": "api", "period_seconds": float("nan")}, "period_seconds must be"),
    ],
)
def test_a_wrong_argument_of_publish(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        publish(Recorder(registry=None), "redis://queue", **options)
