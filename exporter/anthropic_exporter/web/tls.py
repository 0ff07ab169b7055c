"""TLS for the server's connections, with the client certificates that a web configuration asks for."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.web import certificate_dates
from anthropic_exporter.web.certificate_dates import Validity
from anthropic_exporter.web.web_config import IF_GIVEN, NEVER, REQUIRED, Pem, TlsConfig

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {NEVER: ssl.CERT_NONE, IF_GIVEN: ssl.CERT_OPTIONAL, REQUIRED: ssl.CERT_REQUIRED}
_NOUNS = {"cert": "certificate", "key": "private key", "client_ca": "certificate"}
_CERTIFICATE, _KEY = (
    re.compile(rb"-----BEGIN [A-Z ]*" + kind + rb"-----") for kind in (b"CERTIFICATE", b"PRIVATE KEY")
)
_BEGINS = {"cert": _CERTIFICATE, "key": _KEY, "client_ca": _CERTIFICATE}


class Tls:
    """One TLS configuration, ready to use.

    Args:
        path: the web configuration file, for messages.
        config: its `tls_server_config`.

    Raises:
        ConfigurationError: a certificate or key cannot be read, or they do not belong together.
    """

    def __init__(self, path: Path, config: TlsConfig) -> None:
        self._names = frozenset(config.client_names)
        try:
            self._context = _context(config)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: tls_server_config: {_reason(error)}") from error
        self._own = _validities(config.cert)
        self._authorities = [] if config.client_ca is None else _validities(config.client_ca)

    def problem(self, now: float) -> str:
        """Why every client is refused, or refuses this server, at `now` (Unix seconds); empty if none does."""
        if own := certificate_dates.describe_problem(self._own, now):
            return f"the certificate of cert_file {own}: clients refuse this server"
        authorities = certificate_dates.describe_problem_of_all(self._authorities, now)
        return f"the certificate of client_ca_file {authorities}: clients are refused" if authorities else ""

    def wrap(self, connected: socket.socket) -> ssl.SSLSocket:
        """A TLS socket whose handshake is still to come; the given one is not used any more."""
        return self._context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)

    def refuses(self, connected: Any) -> bool:
        """Whether the client's certificate has none of the `client_allowed_sans`."""
        if not self._names:
            return False
        certificate = connected.getpeercert() or {}
        return not any(value in self._names for _, value in certificate.get("subjectAltName", ()))


def _context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = (_VERSIONS[name] for name in config.versions)
    if config.server_prefers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if config.ciphers:
        context.set_ciphers(":".join(config.ciphers))
    with _file("cert", config.cert) as cert, _file("key", config.key) as key:
        context.load_cert_chain(cert, key, password=_no_password)
    if config.client_ca is not None:
        with _file("client_ca", config.client_ca) as authority:
            context.load_verify_locations(authority)
    context.verify_mode = _VERIFY[config.client_auth]
    return context


def _validities(pem: Pem) -> list[Validity]:
    text = pem.text
    if pem.path is not None:
        text = bounded_files.read_bytes(pem.path, bounded_files.MOST_PEM_BYTES).decode("ascii", "replace")
    return certificate_dates.read_validities(text)


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase, readable by this process alone")


@contextlib.contextmanager
def _file(key: str, pem: Pem) -> Iterator[Path]:
    """A file that `ssl` may read: it takes no text, waits forever for a FIFO, and names no file that it refuses."""
    if pem.path is not None:
        if not _BEGINS[key].search(bounded_files.read_bytes(pem.path, bounded_files.MOST_PEM_BYTES)):
            raise ValueError(f"{key}_file: {pem.path} holds no {_NOUNS[key]} in PEM")
        yield pem.path
        return
    if not _BEGINS[key].search(pem.text.encode(errors="replace")):
        raise ValueError(f"{key}: holds no {_NOUNS[key]} in PEM")
    descriptor, name = tempfile.mkstemp()  # readable by this user alone
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(pem.text)
        yield Path(name)
    finally:
        Path(name).unlink()


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if isinstance(error, ssl.SSLError):
        return f"a certificate or key is not PEM that OpenSSL reads ({reason or 'unknown reason'})"
    return str(error)
