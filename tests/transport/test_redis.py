"""What only a real Redis does: passwords, TLS, restarts, trimming, a full memory, a deleted folder."""

from __future__ import annotations

import datetime as dt
import gc
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.interface import TransportError
from anthropic_exporter.transport.opening import open_transport
from anthropic_exporter.transport.redis_streams import RedisStream
from ports import free_port
from queue_engines import Nats, Redis

pytest.importorskip("redis")


def opened(url: str, **options: Any) -> RedisStream:
    return open_transport(parse(url), "cells", **options)  # type: ignore[return-value]


def reason(url: str) -> str:
    queue = opened(url)
    with pytest.raises(TransportError) as caught:
        queue.send([b"message"])
    queue.close()
    return caught.value.reason


def test_an_unreachable_queue_is_reported() -> None:
    assert reason(f"redis://127.0.0.1:{free_port()}") == "unreachable"


def test_a_password(tmp_path: Path) -> None:
    with Redis(tmp_path, "--requirepass", "s3cret") as server:
        assert reason(server.url) == "refused"
        assert reason(f"redis://:wr0ng@127.0.0.1:{server.port}") == "refused"
        opened(f"redis://:s3cret@127.0.0.1:{server.port}").send([b"message"])


def test_no_error_names_the_password(tmp_path: Path) -> None:
    with Redis(tmp_path, "--requirepass", "s3cret") as server, pytest.raises(TransportError) as caught:
        opened(f"redis://:wr0ng@127.0.0.1:{server.port}").send([b"message"])
    assert "wr0ng" not in f"{caught.value}"


ODD = "p@ss w/rd#?%&+:ä\\\\"


def test_a_password_of_odd_characters(tmp_path: Path) -> None:
    with Redis(tmp_path, "--requirepass", ODD) as server:
        opened(f"redis://:{quote(ODD, safe='')}@127.0.0.1:{server.port}").send([b"message"])


def test_a_password_of_odd_characters_on_nats(tmp_path: Path) -> None:
    pytest.importorskip("nats")
    with Nats(tmp_path, "--user", "te am", "--pass", ODD) as server:
        right = opened(f"nats://te%20am:{quote(ODD, safe='')}@127.0.0.1:{server.port}")
        right.send([b"message"])
        assert [one.data for one in right.receive(1, 5)] == [b"message"]
        right.close()
        assert reason(f"nats://te%20am:wrong@127.0.0.1:{server.port}") == "refused"


def test_a_server_of_nats_that_refuses_leaves_no_socket_open(tmp_path: Path) -> None:
    pytest.importorskip("nats")
    with Nats(tmp_path, "--user", "team", "--pass", "s3cret") as server:
        for _ in range(3):
            assert reason(f"nats://team:wr0ng@127.0.0.1:{server.port}") == "refused"
    gc.collect()  # a socket that was left open is a warning, and warnings are errors


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certified(tmp_path)


def certified(tmp_path: Path, days: int = 0) -> Path:
    """A certificate for localhost that signs itself, and its key; valid for two days, `days` from now."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - skipped above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - skipped above

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*pem))
    return tmp_path


def with_tls(folder: Path, certificate: Path) -> Redis:
    files = [f"{option}={certificate / name}" for option, name in (("cert", "cert.pem"), ("key", "key.pem"))]
    arguments = [part for one in files for part in ("--tls-" + one.split("=")[0] + "-file", one.split("=")[1])]
    return Redis(folder, *arguments, "--tls-auth-clients", "no", tls=True)


@pytest.mark.parametrize(("days", "said"), [(-30, "has expired: renew it"), (30, "is not valid yet: check it")])
def test_a_certificate_out_of_its_dates_is_said(tmp_path: Path, days: int, said: str) -> None:
    certificate = certified(tmp_path, days)
    with with_tls(tmp_path, certificate) as server:
        url = f"rediss://localhost:{server.port}?ssl_ca_certs={certificate / 'cert.pem'}"
        with pytest.raises(TransportError, match=f"the server's certificate {said}"):
            opened(url).send([b"message"])


def test_tls(tmp_path: Path, certificate: Path) -> None:
    with with_tls(tmp_path, certificate) as server:
        trusted = f"rediss://localhost:{server.port}?ssl_ca_certs={certificate / 'cert.pem'}"
        opened(trusted).send([b"message"])
        assert [one.data for one in opened(trusted).receive(10, 5)] == [b"message"]
        with pytest.raises(TransportError, match="unreachable: the server's certificate is not trusted: check ssl_ca_"):
            opened(f"rediss://localhost:{server.port}").send([b"message"])
        with pytest.raises(TransportError, match="the server's certificate is not trusted"):
            opened(trusted.replace("localhost", "127.0.0.1")).send([b"message"])
        assert reason(f"redis://localhost:{server.port}") == "unreachable"


def test_a_kill_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        sender, receiver = opened(server.url), opened(server.url)
        sender.send([b"before"])
        assert [one.data for one in receiver.receive(10, 5)] == [b"before"]
        server.kill()
        with pytest.raises(TransportError):
            receiver.receive(10, 0.05)
        with pytest.raises(TransportError):
            sender.send([b"never"])
        server.start()
        sender.send([b"after"])
        assert [one.data for one in receiver.receive(10, 5)] == [b"after"]
        assert [one.data for one in opened(server.url).receive(10, 5)] == [b"before", b"after"]


def test_a_stream_that_lost_its_disk_is_read_from_its_beginning(tmp_path: Path) -> None:
    with Redis(tmp_path / "data") as server:
        sender, receiver = opened(server.url), opened(server.url)
        sender.send([b"one", b"two"])
        last = receiver.receive(10, 5)[-1].token
        server.kill()
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "data").mkdir()
        server.start()
        ahead = f"{int(last.partition('-')[0]) + 10_000_000}-0"  # as if the clock had gone back meanwhile
        receiver = opened(server.url, position=ahead)
        assert receiver.receive(10, 0.01) == []
        sender.send([b"three"])
        found = receiver.receive(10, 0.01) or receiver.receive(10, 5)
        assert [one.data for one in found] == [b"three"]


def test_a_stream_is_trimmed(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        sender = opened(server.url, most_messages=100)
        for _ in range(20):
            sender.send([b"x" * 100] * 50)
        left = opened(server.url).receive(10_000, 5)
        assert 100 <= len(left) <= 250  # Redis trims whole nodes, of 100 entries


def test_a_full_memory_is_reported(tmp_path: Path) -> None:
    with Redis(tmp_path, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
        sender = opened(server.url)
        with pytest.raises(TransportError) as caught:
            sender.send([bytes(100_000)] * 100)
        assert caught.value.reason == "full"


def test_a_server_that_hangs_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anthropic_exporter.transport.redis_clients._ANSWER_SECONDS", 0.2)
    with Redis(tmp_path) as server:
        sender = opened(server.url)
        sender.send([b"message"])
        server.pause()
        with pytest.raises(TransportError) as caught:
            sender.send([b"message"])
        server.resume()
        assert caught.value.reason == "timeout"
