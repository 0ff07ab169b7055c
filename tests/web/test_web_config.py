"""The web configuration file: what is read, and each mistake as one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from anthropic_exporter import ConfigurationError
from anthropic_exporter.web import web_config
from anthropic_exporter.web.web_config import Pem, Rate

HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., web_config.WebConfig]:
    def make(text: str) -> web_config.WebConfig:
        path = tmp_path / "web.yml"
        path.write_text(text)
        return web_config.read(path)

    return make


def test_the_whole_format(read: Callable[..., web_config.WebConfig], tmp_path: Path) -> None:
    config = read(
        f"""
tls_server_config:
  cert_file: server.crt
  key_file: /etc/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca: |
    -----BEGIN CERTIFICATE-----
  client_allowed_sans: [prometheus.internal]
  min_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers: {{X-Frame-Options: deny, Strict-Transport-Security: "max-age=31536000", X-XSS-Protection: ""}}
basic_auth_users:
  prometheus: {HASH}
bearer_token_files: [token]
rate_limit: {{interval: 1m0.5s, burst: 20}}
"""
    )
    tls = config.tls
    assert (tls.cert, tls.key) == (Pem(tmp_path / "server.crt", ""), Pem(tls.key.path, ""))
    assert str(tls.key.path) == "/etc/server.key"
    assert tls.client_ca == Pem(None, "-----BEGIN CERTIFICATE-----\n")
    assert (tls.client_auth, tls.client_names) == ("RequireAndVerifyClientCert", ("prometheus.internal",))
    assert (tls.versions, tls.ciphers) == (("TLS13", "TLS13"), ("ECDHE-RSA-AES128-GCM-SHA256",))
    assert tls.server_prefers is False
    assert config.headers == (("X-Frame-Options", "deny"), ("Strict-Transport-Security", "max-age=31536000"))
    assert config.users == {"prometheus": HASH}
    assert config.token_files == (tmp_path / "token",)
    assert config.rate == Rate(60.5, 20)


def test_what_is_left_out_is_off(read: Callable[..., web_config.WebConfig]) -> None:
    assert read("http_server_config: {}\n") == web_config.WebConfig(None, {}, (), (), None)
    assert read("rate_limit: {interval: 0, burst: 3}\n").rate is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls: {}\n", "web.yml:1: tls: unknown key; known keys: basic_auth_users, bearer_token_files, http_server"),
        ("tls_server_config: 3\n", "web.yml:1: tls_server_config: expected a mapping"),
        ("tls_server_config: {cert_file: a}\n", "web.yml:1: key_file: is missing"),
        ("tls_server_config: {key_file: a}\n", "web.yml:1: cert_file: is missing"),
        (TLS + "  cert: x\n", "web.yml:4: cert: give cert or cert_file, not both"),
        (TLS + "  min_version: TLS10\n", "web.yml:4: min_version: TLS10 is not supported here; use TLS12 or TLS13"),
        (TLS + "  client_auth_type: RequireAnyClientCert\n", "RequireAnyClientCert verifies no certificate; use Req"),
        (TLS + "  client_auth_type: Always\n", "web.yml:4: client_auth_type: Always is not supported here"),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert\n", "need client_ca_file"),
        (TLS + "  client_ca_file: ca\n", "need client_ca_file, and it needs one of them"),
        (TLS + "  client_allowed_sans: [a]\n", "client_allowed_sans: needs client_auth_type: RequireAndVerify"),
        (TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", "TLS_RSA_WITH_RC4_128_SHA is not supported here"),
        (TLS + "  curve_preferences: [X25519]\n", "curve_preferences: is not supported here; leave it out"),
        (TLS + "  prefer_server_cipher_suites: 3\n", "prefer_server_cipher_suites: expected true or false"),
        (TLS + "  cert_file: [a]\n", "web.yml:4: key 'cert_file' is repeated"),
        ("basic_auth_users: {a: secret}\n", "web.yml:1: a: expected a bcrypt hash"),
        (
            f"basic_auth_users: {{a: {HASH.replace('$10', '$15')}}}\n",
            "a bcrypt cost of 15 takes seconds; use 14 at most",
        ),
        ("basic_auth_users: {a: 3}\n", "web.yml:1: a: expected a string"),
        ("http_server_config: {headers: {X-Other: a}}\n", "X-Other: unknown key"),
        (
            "http_server_config: {headers: {X-Frame-Options: a}}\n",
            "X-Frame-Options: a is not allowed; use deny or same",
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb"}}\n',
            "X-XSS-Protection: a\\r\\nb is not allowed",
        ),
        ("bearer_token_files: token\n", "bearer_token_files: expected a list of strings"),
        ("rate_limit: {interval: soon}\n", "interval: expected a duration such as 1s or 500ms"),
        ("rate_limit: {burst: -1}\n", "burst: expected a whole number"),
        (
            f"rate_limit: {{interval: 1s, burst: {'9' * 400}}}\n",
            "burst: expected a whole number from 0 to 1,000,000",
        ),
        ("rate_limit: {interval: 1s, burst: 0}\n", "web.yml:1: burst: 0 refuses every request; give at least 1"),
        ("rate_limit: {interval: 1s}\n", "web.yml:1: burst: 0 refuses every request; give at least 1"),
        (f"rate_limit: {{interval: {'9' * 400}h, burst: 1}}\n", "web.yml:1: interval: expected a day at most"),
        ("rate_limit: {interval: \u0661s, burst: 1}\n", "interval: expected a duration such as 1s or 500ms"),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            "max_version: TLS12 is below min_version TLS13: no client",
        ),
        (f"basic_auth_users: {{'a:b': {HASH}}}\n", "a:b: a name with a colon cannot log in"),
        (f"basic_auth_users: {{a: {HASH.replace('$10', '$03')}}}\n", "web.yml:1: a: expected a bcrypt hash"),
        (f"basic_auth_users: {{a: {HASH.replace('$10', '$32')}}}\n", "web.yml:1: a: expected a bcrypt hash"),
        (f"basic_auth_users: {{a: {HASH.replace('$10', '$' + chr(0x661) + '0')}}}\n", "a: expected a bcrypt hash"),
        (f"basic_auth_users: {{a: {HASH[:28] + 'f' + HASH[29:]}}}\n", "web.yml:1: a: expected a bcrypt hash"),
        (
            f"http_server_config: {{headers: {{Content-Security-Policy: '{'a' * 5000}'}}}}\n",
            "Content-Security-Policy: aaa",
        ),
    ],
)
def test_a_mistake_is_one_line(read: Callable[..., web_config.WebConfig], text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_files_of_the_documentation_are_read(read: Callable[..., web_config.WebConfig]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
    files = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "scrape_configs" not in text]
    configs = [read(text) for text in files]
    assert [(one.tls.client_auth, list(one.users), len(one.token_files)) for one in configs] == [
        ("RequireAndVerifyClientCert", [], 0),
        ("NoClientCert", ["prometheus"], 0),
        ("NoClientCert", [], 1),
    ]
