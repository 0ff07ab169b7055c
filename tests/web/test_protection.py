"""TLS, client certificates, passwords and tokens, for every route, by a real client."""

from __future__ import annotations

import base64
import datetime as dt
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from anthropic_exporter import ConfigurationError, Recorder, bounded_files, serve
from anthropic_exporter.remedies import Remedies
from anthropic_exporter.serving import serve_alone
from anthropic_exporter.web import passwords
from anthropic_exporter.web.passwords import Passwords, TooManyLogins
from anthropic_exporter.web.protection import Protection
from certificates import Certificates, hashed
from support import NOON, Clock

CLIENTS = ("  client_auth_type: RequireAndVerifyClientCert", "  client_ca_file: ca.crt")
PATHS = ("/metrics", "/", "/live", "/live/state", "/-/healthy", "/nowhere")


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def certificates(issued: Any, tmp_path: Path) -> Any:
    """Each test may change its files."""
    for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
        (tmp_path / name).write_bytes((issued.folder / name).read_bytes())
    made = Certificates.__new__(Certificates)
    made.folder, made.authority, made.other = tmp_path, issued.authority, issued.other
    return made


def get(server: Any, path: Any = "/metrics", context: Any = None, **headers: Any) -> Any:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_without_a_client_certificate_no_route_answers(certificates: Any) -> None:
    path = certificates.config("web.yml", *CLIENTS)
    certificates.issue("stranger", "prometheus.internal", authority=certificates.other)
    with serve(Recorder(registry=None), port=0, live=True, web_config=path) as server:
        assert server.url.startswith("https://127.0.0.1:")
        for route in PATHS:
            assert get(server, route, certificates.context("client")) in (200, 404)
            for client in ("", "stranger"):
                with pytest.raises((urllib.error.URLError, OSError)):
                    get(server, route, certificates.context(client))
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(server.url.replace("https", "http"), timeout=10)


def test_a_worker_that_does_not_hold_the_port_knows_its_address_and_finds_a_mistake(certificates: Any) -> None:
    path = certificates.config("web.yml", *CLIENTS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve(Recorder(registry=None), port=port, web_config=path) as handle:
            assert not handle.holds_port
            assert handle.url == f"https://127.0.0.1:{port}"
        (certificates.folder / "server.key").unlink()
        with pytest.raises(ConfigurationError, match=r"server\.key"):
            serve(Recorder(registry=None), port=port, web_config=path)


def test_a_client_certificate_of_another_name_is_refused(certificates: Any) -> None:
    path = certificates.config("web.yml", *CLIENTS, "  client_allowed_sans: [prometheus.internal]")
    certificates.issue("other", "grafana.internal")
    with serve(Recorder(registry=None), port=0, web_config=path) as server:
        assert get(server, context=certificates.context("client")) == 200
        with pytest.raises((urllib.error.URLError, OSError)):
            get(server, context=certificates.context("other"))


def test_the_lowest_version_is_held(certificates: Any) -> None:
    path = certificates.config("web.yml", "  min_version: TLS13")
    context = certificates.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve(Recorder(registry=None), port=0, web_config=path) as server:
        assert get(server, context=certificates.context()) == 200
        with pytest.raises((urllib.error.URLError, OSError)):
            get(server, context=context)


WRONG = [
    *("", "Basic", "Basic ?", "Bearer wrong", "Bearer a long", "Digest a", basic("alice", "wrong")),
    *(basic("bob", "correct horse"), basic("alice", "\0"), basic("alice", "x" * 100), basic("alice", "")),
]


def test_without_a_password_or_token_no_route_answers(certificates: Any) -> None:
    (certificates.folder / "token").write_text("a long random word\n")
    users = (f"  alice: {hashed('correct horse')}", "bearer_token_files: [token]")
    path = certificates.config("web.yml", "basic_auth_users:", *users)
    context = certificates.context()
    with serve(Recorder(registry=None), port=0, live=True, web_config=path) as server:
        for route in PATHS:
            for right in (basic("alice", "correct horse"), "Bearer a long random word", "bearer a long random word"):
                assert get(server, route, context, Authorization=right) in (200, 404)
            for wrong in WRONG:
                assert get(server, route, context, Authorization=wrong) == 401, wrong


def test_a_route_with_a_key_of_its_own_asks_for_that_key(certificates: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the key of alerts")
    path = certificates.config("web.yml", "basic_auth_users:", f"  alice: {hashed('x')}")
    recorder = Recorder(registry=None)
    with (
        Remedies(recorder, token_file=tmp_path / "key") as remedies,
        serve(recorder, port=0, web_config=path, remedies=remedies) as server,
    ):
        assert post_alerts(server, certificates.context(), basic("alice", "x")) == 401
        assert post_alerts(server, certificates.context(), "Bearer the key of alerts") == 200


def post_alerts(server: Any, context: Any, authorization: Any) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    request = urllib.request.Request(server.url + "/alerts", b'{"version": "4", "alerts": []}', headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_headers_are_added_to_every_answer(certificates: Any) -> None:
    path = certificates.config("web.yml", "http_server_config: {headers: {X-Frame-Options: deny}}")
    with (
        serve(Recorder(registry=None), port=0, web_config=path) as server,
        urllib.request.urlopen(server.url + "/", timeout=10, context=certificates.context()) as answer,
    ):
        assert answer.headers["X-Frame-Options"] == "deny"


def test_a_slow_handshake_holds_no_thread_and_ends(certificates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificates.config("web.yml")
    with serve_alone(Recorder(registry=None), port=0, web_config=path) as server:
        usual = server._loop._limits
        server._loop._limits = usual._replace(handshake_seconds=0.3)
        before = threading.active_count()
        silent = [socket.create_connection((server.host, server.port), timeout=10) for _ in range(20)]
        while len(server._loop._connections) < 20:
            time.sleep(0.001)
        server._loop._limits = usual
        assert get(server, context=certificates.context()) == 200
        assert threading.active_count() <= before + 4
        for one in silent:
            assert one.recv(1) == b""
            one.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "server.key").unlink(), "server.key: cannot be read: No such file"),
        (lambda folder: (folder / "server.key").write_text("x"), "server.key holds no private key in PEM"),
        (lambda folder: (folder / "server.crt").write_text("x"), "server.crt holds no certificate in PEM"),
        (lambda folder: (folder / "ca.crt").write_text("x"), "client_ca_file: "),
        (
            lambda folder: (folder / "server.key").write_bytes((folder / "server.crt").read_bytes()),
            "server.key holds no private key in PEM",
        ),
        (
            lambda folder: (folder / "server.crt").write_text(
                "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
            ),
            "a certificate or key is not PEM that OpenSSL reads",
        ),
        (
            lambda folder: (folder / "server.key").write_bytes((folder / "client.key").read_bytes()),
            "does not belong to",
        ),
        (lambda folder: ((folder / "ca.crt").unlink(), os.mkfifo(folder / "ca.crt")), "ca.crt: is a FIFO"),
    ],
)
def test_certificates_that_cannot_be_used_are_one_line(certificates: Any, damage: Any, said: str) -> None:
    path = certificates.config("web.yml", *CLIENTS)
    damage(certificates.folder)
    with pytest.raises(ConfigurationError) as caught:
        serve(Recorder(registry=None), port=0, web_config=path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_that_is_replaced_between_its_check_and_its_use_is_not_waited_for(
    certificates: Any, monkeypatch: pytest.MonkeyPatch, in_memory: Any
) -> None:
    """What was checked is what is used: OpenSSL never opens the file that the user named, which is a FIFO by then."""
    path = certificates.config("web.yml", *CLIENTS)
    read_bytes, temporary = bounded_files.read_bytes, certificates.folder / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def read_and_replace(path: Path, most_bytes: int, **options: Any) -> bytes:
        content = read_bytes(path, most_bytes, **options)
        if path.suffix in (".crt", ".key"):
            path.unlink()
            os.mkfifo(path)
        return content

    recorder, context = Recorder(registry=None), certificates.context("client")
    monkeypatch.setattr(bounded_files, "read_bytes", read_and_replace)
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    with serve_alone(recorder, port=0, web_config=path) as server:
        monkeypatch.undo()
        assert get(server, context=context) == 200
    assert list(temporary.iterdir()) == []  # no copy of the key is left


def test_an_encrypted_key_is_one_line_without_a_prompt(certificates: Any) -> None:
    path = certificates.folder / "server.key"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    kind = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, kind)
    )
    with pytest.raises(ConfigurationError, match="the key is encrypted; give one without a passphrase"):
        serve(Recorder(registry=None), port=0, web_config=certificates.config("web.yml"))


def test_without_bcrypt_passwords_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {hashed('x')}\n")
    said = r"web\.yml: basic_auth_users needs the package bcrypt: pip install 'anthropic-exporter\[web\]'"
    with pytest.raises(ConfigurationError, match=said):
        serve(Recorder(registry=None), port=0, web_config=path)


# -- edits


@pytest.fixture
def protection(tmp_path: Path) -> Any:
    clock, said = Clock(100.0), []  # type: ignore[var-annotated]
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {hashed('old')}\n")
    made = Protection(path, said.append, said.append, clock)

    def edit(text: Any) -> None:
        path.write_text(text)
        clock.now += 1.1

    return made, edit, said


def status(protection: Any, authorization: Any) -> Any:
    refused = protection.authenticate({"authorization": authorization})
    return 200 if refused is None else int(refused.status)


def test_an_edit_is_taken_within_a_second(protection: Any) -> None:
    protected, edit, said = protection
    assert status(protected, basic("alice", "old")) == 200
    edit(f"basic_auth_users:\n  alice: {hashed('fresh')}\n")
    assert status(protected, basic("alice", "old")) == 401
    assert status(protected, basic("alice", "fresh")) == 200
    assert said == []


@pytest.mark.parametrize(
    "text", ["basic_auth_users: {a: b}\n", "[", "", "tls_server_config: {cert_file: a}\n", "x: 1\n"]
)
def test_a_broken_edit_changes_nothing_and_is_said_once(protection: Any, text: str) -> None:
    protected, edit, said = protection
    edit(text)
    assert status(protected, basic("alice", "old")) == 200
    edit(text)
    assert status(protected, "") == 401
    assert len(said) in (1, 2)  # a file that is written again is read again
    assert all(line.endswith("; the previous configuration stays in effect") for line in said)


def test_a_certificate_that_is_renewed_is_used(certificates: Any) -> None:
    path = certificates.config("web.yml")
    clock = Clock(100.0)
    protected = Protection(path, pytest.fail, pytest.fail, clock)
    first = protected._state.tls
    certificates.issue("server", "127.0.0.1")
    protected._refresh()
    assert protected._state.tls is first
    clock.now += 1.1
    protected._refresh()
    assert protected._state.tls is not first


def test_an_edit_whose_files_are_created_later_is_loaded_then(certificates: Any) -> None:
    path, clock, said = certificates.config("web.yml"), Clock(100.0), []  # type: ignore[var-annotated]
    protected = Protection(path, said.append, pytest.fail, clock)
    first = protected._state.tls
    path.write_text("tls_server_config: {cert_file: new.crt, key_file: new.key}\n")
    for _ in range(3):
        clock.now += 1.1
        protected._refresh()
    (line,) = said
    assert "new.crt" in line
    assert line.endswith("; the previous configuration stays in effect")
    certificates.issue("new", "127.0.0.1")
    clock.now += 1.1
    protected._refresh()
    assert protected._state.tls is not first


# -- dates of certificates


def day(*numbers: int) -> dt.datetime:
    return dt.datetime(*numbers, tzinfo=dt.timezone.utc)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("dates", "line"),
    [
        ({"not_after": day(2026, 11, 1)}, "expired at 2026-11-01 00:00 UTC"),
        ({"not_before": day(2026, 12, 1)}, "is not valid before 2026-12-01 00:00 UTC"),
        (
            {"not_after": day(1999, 1, 1), "not_before": day(1998, 1, 1)},
            "expired at 1999-01-01 00:00 UTC",
        ),
        ({"not_before": day(2051, 1, 1)}, "is not valid before 2051-01-01 00:00 UTC"),
    ],
)
def test_a_certificate_that_clients_refuse_is_one_line_at_the_start(certificates: Any, dates: Any, line: str) -> None:
    path, said = certificates.config("web.yml"), []  # type: ignore[var-annotated]
    certificates.issue("server", "127.0.0.1", **dates)
    Protection(path, said.append, pytest.fail, Clock(100.0), lambda: NOON)
    assert said == [f"{path}: tls_server_config: the certificate of cert_file {line}: clients reject this server"]


def test_a_certificate_that_expires_meanwhile_is_said_once_an_hour_until_it_is_renewed(certificates: Any) -> None:
    path, clock, wall, said = certificates.config("web.yml"), Clock(100.0), Clock(NOON), []  # type: ignore[var-annotated]
    certificates.issue("server", "127.0.0.1", not_after=day(2026, 11, 22))
    protected = Protection(path, said.append, pytest.fail, clock, wall)
    assert said == []
    for seconds in (43_200.0, 1.1, 3_600.0):
        clock.now += seconds
        wall.now += seconds
        protected._refresh()
    assert len(said) == 2
    certificates.issue("server", "127.0.0.1")
    for _ in range(2):
        clock.now += 4_000.0
        protected._refresh()
    assert len(said) == 2


def test_an_authority_that_expired_refuses_clients_and_one_that_is_valid_is_enough(certificates: Any) -> None:
    path, said = certificates.config("web.yml", *CLIENTS), []  # type: ignore[var-annotated]
    issued = certificates.authority.issue_cert("old", not_after=day(2020, 1, 1)).cert_chain_pems[0].bytes()
    valid = (certificates.folder / "ca.crt").read_bytes()
    (certificates.folder / "ca.crt").write_bytes(issued + valid)
    Protection(path, said.append, pytest.fail, Clock(100.0), lambda: NOON)
    assert said == []
    (certificates.folder / "ca.crt").write_bytes(issued)
    Protection(path, said.append, pytest.fail, Clock(100.0), lambda: NOON)
    line = "the certificate of client_ca_file expired at 2020-01-01 00:00 UTC: clients are refused"
    assert said == [f"{path}: tls_server_config: {line}"]


def test_an_expired_certificate_is_logged_and_counted(certificates: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = certificates.config("web.yml")
    certificates.issue("server", "127.0.0.1", not_after=day(2020, 1, 1))
    recorder = Recorder(registry=None)
    with serve(recorder, port=0, web_config=path):
        assert "the certificate of cert_file expired at 2020-01-01 00:00 UTC" in caplog.text
    assert b'anthropic_exporter_record_errors_total{stage="web_config"} 1.0' in recorder.render()


def test_tls_is_not_switched_off_by_an_edit(certificates: Any) -> None:
    clock, said = Clock(100.0), []  # type: ignore[var-annotated]
    protected = Protection(certificates.config("web.yml"), said.append, pytest.fail, clock)
    (certificates.folder / "web.yml").write_text("http_server_config: {}\n")
    clock.now += 1.1
    protected._refresh()
    assert protected.uses_tls
    assert "TLS can be switched on or off only by a restart" in said[0]


def test_a_rate_is_held(tmp_path: Path) -> None:
    clock, reached = Clock(100.0), []  # type: ignore[var-annotated]
    path = tmp_path / "web.yml"
    path.write_text("rate_limit: {interval: 500ms, burst: 3}\n")
    protected = Protection(path, pytest.fail, reached.append, clock)
    assert [status(protected, "") for _ in range(4)] == [200, 200, 200, 429]
    clock.now += 0.5
    assert [status(protected, "") for _ in range(2)] == [200, 429]
    assert reached == ["server_rate", "server_rate"]


# -- passwords


class Slow:
    """Counts how often a hash is computed, and can be held."""

    def __init__(self) -> None:
        self.computed, self.gate = 0, threading.Event()
        self.gate.set()

    def checkpw(self, password: Any, _: Any) -> Any:
        self.computed += 1
        self.gate.wait(10)
        return password == b"right"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Slow()
    monkeypatch.setattr(passwords, "_bcrypt", lambda: made)
    return made


def test_a_password_is_hashed_once(slow: Any) -> None:
    checked = Passwords({"alice": "hash"})
    assert [checked.admits(basic("alice", "right")) for _ in range(100)] == [True] * 100
    assert [checked.admits(basic("alice", "wrong")) for _ in range(100)] == [False] * 100
    assert slow.computed == 2


def test_guesses_push_out_no_password_that_is_right(slow: Any) -> None:
    checked = Passwords({"alice": "hash"})
    checked.admits(basic("alice", "right"))
    for guess in range(500):
        checked.admits(basic("alice", f"{guess}"))
    assert slow.computed == 501
    assert checked.admits(basic("alice", "right"))
    assert slow.computed == 501
    assert {result: len(known) for result, known in checked._known.items()} == {True: 1, False: 100}


def test_a_flood_of_guesses_does_not_delay_known_clients(slow: Any) -> None:
    checked = Passwords({"alice": "hash"})
    checked.admits(basic("alice", "right"))
    slow.gate.clear()
    guessing = [threading.Thread(target=checked.admits, args=(basic("alice", f"{guess}"),)) for guess in range(2)]
    for one in guessing:
        one.start()
    while slow.computed < 2 or checked._waiting._value:
        time.sleep(0.001)
    with pytest.raises(TooManyLogins):
        checked.admits(basic("alice", "a third"))
    assert checked.admits(basic("alice", "right"))
    slow.gate.set()
    for one in guessing:
        one.join()
