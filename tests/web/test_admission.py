from __future__ import annotations

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.web.admission import Admission
from anthropic_exporter.web.request_head import Head


def status(admission: Admission, method: str = "GET", **headers: str) -> int | None:
    refused = admission.refuses(
        Head(method, "/", 1, {name.replace("_", "-"): value for name, value in headers.items()})
    )
    return None if refused is None else int(refused.status)


LOCAL = Admission.of("127.0.0.1")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9464", "127.0.0.1:1", "127.9.9.9", "[::1]:9464", "a.localhost"]
)
def test_the_names_of_loopback(host: str) -> None:
    assert status(LOCAL, host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", "10.0.0.1", "", "localhost:x", "a b",
     "localhost@evil.example", "localhost:1:2", "127.0.0.1\xb2", "[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_a_foreign_name_is_misdirected(host: str) -> None:
    assert status(LOCAL, host=host) == 421


def test_further_names_are_accepted() -> None:
    admission = Admission.of("127.0.0.1", ["Claude.internal", "fd00::7", "10.0.0.1"])
    for host in ("claude.internal:9464", "[fd00::7]", "10.0.0.1:80", "localhost"):
        assert status(admission, host=host) is None
    assert status(admission, host="other.internal") == 421


def test_on_every_address_every_name_is_accepted_until_some_are_named() -> None:
    assert status(Admission.of("0.0.0.0"), host="claude.example") is None
    assert status(Admission.of("0.0.0.0", ["exporter"]), host="claude.example") == 421
    assert status(Admission.of("0.0.0.0", ["exporter"]), host="exporter:9464") is None
    assert status(Admission.of("::", ["exporter"]), host="localhost:9464") is None
    assert status(Admission.of("192.168.1.7"), host="claude.example") is None


def test_a_client_without_a_host_is_not_a_browser() -> None:
    assert status(LOCAL) is None


@pytest.mark.parametrize("name", ["a:80", "http://a", "", "a b"])
def test_an_allowed_name_is_a_host_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a host name or address; give it without a port"):
        Admission.of("127.0.0.1", [name])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9464.evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "http://evil.example", "host": "evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_page_of_another_origin_sends_nothing(method: str, headers: dict[str, str]) -> None:
    for admission in (LOCAL, Admission.of("0.0.0.0")):
        assert status(admission, method, **{"host": "localhost:9464", **headers}) in (403, 421)


def test_programs_and_own_pages_send() -> None:
    assert status(LOCAL, "POST", host="localhost:9464") is None
    assert status(LOCAL, "POST", host="localhost:9464", origin="http://localhost:9464") is None
    assert status(LOCAL, "GET", host="localhost:9464", origin="https://evil.example") is None
