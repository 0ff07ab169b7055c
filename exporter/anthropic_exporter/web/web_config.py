"""The web configuration file of Prometheus' exporter-toolkit, as frozen values; a mistake is named by file, line, key.

The format: github.com/prometheus/exporter-toolkit, docs/web-configuration.md and web/tls_config.go, read 2026-11-30.
`bearer_token_files` is an addition of this project. What Python's `ssl` cannot do is refused, not ignored:
certificates that are requested but not verified, TLS below 1.2, preferred curves.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.yaml_with_lines import Mapping

REQUIRED, IF_GIVEN, NEVER = "RequireAndVerifyClientCert", "VerifyClientCertIfGiven", "NoClientCert"
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_VERSIONS = ("TLS12", "TLS13")
# A salt has 128 bits: two of its last character, which is one of four.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
#: A cost of 14 takes about a second of a core for each new password.
_HIGHEST_COST = 14
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
#: A day between two requests; Go's durations end at 292 years.
_LONGEST_SECONDS = 86_400.0
_MOST_AT_ONCE = 1_000_000
_MOST_HEADER_CHARS = 4_096
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER_VALUES: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
#: OpenSSL's names of the cipher suites of TLS 1.2 that Go offers and does not call insecure (crypto/tls, CipherSuites).
_CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{openssl}"
    for key in ("RSA", "ECDSA")
    for go, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
#: Those of TLS 1.3 are always on, in Go and in Python.
_CIPHERS_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


class Pem(NamedTuple):
    """Certificates or a key: a file, or the text itself."""

    path: Path | None
    text: str


class TlsConfig(NamedTuple):
    """`tls_server_config`. `ciphers` are OpenSSL's names, none for the defaults."""

    cert: Pem
    key: Pem
    client_ca: Pem | None
    client_auth: str
    client_names: tuple[str, ...]
    versions: tuple[str, str]
    ciphers: tuple[str, ...]
    server_prefers: bool


class Rate(NamedTuple):
    """`rate_limit`: one request every `seconds`, `burst` at once."""

    seconds: float
    burst: int


class WebConfig(NamedTuple):
    """The whole file."""

    tls: TlsConfig | None
    users: dict[str, str]
    token_files: tuple[Path, ...]
    headers: tuple[tuple[str, str], ...]
    rate: Rate | None


def read(path: Path) -> WebConfig:
    """Read and check a web configuration file.

    Raises:
        ConfigurationError: the file cannot be read, or holds a mistake; one line that names file, line and key.
    """
    root = yaml_with_lines.load(path)
    section = _Section(path, root)
    section.only("tls_server_config", "http_server_config", "basic_auth_users", "bearer_token_files", "rate_limit")
    return WebConfig(
        _tls(section.inner("tls_server_config")),
        _users(section.inner("basic_auth_users")),
        tuple(path.parent / name for name in section.texts("bearer_token_files")),
        _headers(section.inner("http_server_config")),
        _rate(section.inner("rate_limit")),
    )


class _Section:
    """One mapping of the file, and how its mistakes are named."""

    def __init__(self, path: Path, mapping: Mapping) -> None:
        self.path = path
        self.mapping = mapping

    def fail(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}:{self.mapping.lines.get(key, self.mapping.line)}: {key}: {problem}")

    def only(self, *known: str) -> None:
        for key in self.mapping:
            if key not in known:
                raise self.fail(key, f"unknown key; known keys: {', '.join(sorted(known))}")

    def inner(self, key: str) -> _Section | None:
        value = self.mapping.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.fail(key, "expected a mapping")
        return _Section(self.path, value)

    def text(self, key: str, default: str = "") -> str:
        value = self.mapping.get(key, default)
        if not isinstance(value, str) or "\0" in value:
            raise self.fail(key, "expected a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.mapping.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.fail(key, "expected a list of strings")
        return tuple(value)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(key, default) or default
        if value not in allowed:
            raise self.fail(key, f"{_shown(value)} is not supported here; use {' or '.join(allowed)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.mapping.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "expected true or false")
        return value

    def pem(self, key: str) -> Pem | None:
        """`KEY_file`, or the text itself in `KEY`."""
        name, text = self.text(f"{key}_file"), self.text(key)
        if name and text:
            raise self.fail(key, f"give {key} or {key}_file, not both")
        return Pem(self.path.parent / name if name else None, text) if name or text else None


def _tls(section: _Section | None) -> TlsConfig | None:
    if section is None or not section.mapping:
        return None
    section.only(
        *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type"),
        *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
        "curve_preferences",
    )
    if section.texts("curve_preferences"):
        raise section.fail("curve_preferences", "is not supported here; leave it out")
    cert, key = section.pem("cert"), section.pem("key")
    if cert is None or key is None:
        raise section.fail("cert_file" if cert is None else "key_file", "is missing")
    lowest, highest = (
        section.choice("min_version", _VERSIONS, "TLS12"),
        section.choice("max_version", _VERSIONS, "TLS13"),
    )
    if lowest > highest:
        raise section.fail("max_version", f"{highest} is below min_version {lowest}: no client could connect")
    return TlsConfig(
        cert,
        key,
        section.pem("client_ca"),
        *_client_auth(section),
        (lowest, highest),
        _ciphers(section),
        section.flag("prefer_server_cipher_suites", default=True),
    )


def _client_auth(section: _Section) -> tuple[str, tuple[str, ...]]:
    kind = section.text("client_auth_type", NEVER) or NEVER
    if kind in _UNVERIFIED:
        raise section.fail("client_auth_type", f"{kind} verifies no certificate; use {REQUIRED}")
    kind = section.choice("client_auth_type", (NEVER, IF_GIVEN, REQUIRED), NEVER)
    if (kind == NEVER) != (section.pem("client_ca") is None):
        raise section.fail(
            "client_auth_type", f"{IF_GIVEN} and {REQUIRED} need client_ca_file, and it needs one of them"
        )
    names = section.texts("client_allowed_sans")
    if names and kind != REQUIRED:
        raise section.fail("client_allowed_sans", f"needs client_auth_type: {REQUIRED}")
    return kind, names


def _ciphers(section: _Section) -> tuple[str, ...]:
    for name in section.texts("cipher_suites"):
        if name not in _CIPHERS and name not in _CIPHERS_13:
            raise section.fail("cipher_suites", f"{_shown(name)} is not supported here")
    return tuple(_CIPHERS[name] for name in section.texts("cipher_suites") if name in _CIPHERS)


def _users(section: _Section | None) -> dict[str, str]:
    if section is None:
        return {}
    for name in section.mapping:
        if ":" in name:
            raise section.fail(name, "a name with a colon cannot log in: basic authentication ends the name there")
        found = _BCRYPT.fullmatch(section.text(name))
        if found is None:
            raise section.fail(name, "expected a bcrypt hash, such as `htpasswd -nBC 10 NAME` prints")
        if int(found[1]) > _HIGHEST_COST:
            raise section.fail(name, f"a bcrypt cost of {found[1]} takes seconds; use {_HIGHEST_COST} at most")
    return dict(section.mapping)


def _headers(section: _Section | None) -> tuple[tuple[str, str], ...]:
    if section is None:
        return ()
    section.only("http2", "headers")
    section.flag("http2", default=True)  # HTTP/1.1 is used regardless of its value
    headers = section.inner("headers")
    return () if headers is None else tuple(_header(headers, name) for name in headers.mapping if headers.text(name))


def _header(section: _Section, name: str) -> tuple[str, str]:
    section.only(*_HEADER_VALUES)
    value, allowed = section.text(name), _HEADER_VALUES[name]
    is_text = value.isascii() and value.isprintable() and len(value) <= _MOST_HEADER_CHARS
    if (allowed and value not in allowed) or not is_text:
        raise section.fail(
            name, f"{_shown(value)} is not allowed" + (f"; use {' or '.join(allowed)}" if allowed else "")
        )
    return name, value


def _rate(section: _Section | None) -> Rate | None:
    if section is None:
        return None
    section.only("interval", "burst")
    burst: Any = section.mapping.get("burst", 0)
    if isinstance(burst, bool) or not isinstance(burst, int) or not 0 <= burst <= _MOST_AT_ONCE:
        raise section.fail("burst", f"expected a whole number from 0 to {_MOST_AT_ONCE:,}")
    interval = str(section.mapping.get("interval", "0"))
    if interval == "0":
        return None
    if not _DURATION.fullmatch(interval):
        raise section.fail("interval", "expected a duration such as 1s or 500ms")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(interval))
    if seconds > _LONGEST_SECONDS:
        raise section.fail("interval", "expected a day at most")
    if seconds and not burst:
        raise section.fail("burst", "0 refuses every request; give at least 1")
    return Rate(seconds, burst) if seconds else None


def _shown(text: str) -> str:
    return ascii(text)[1:-1][:40]
