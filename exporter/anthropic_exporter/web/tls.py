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
_DESCRIPTORS = "/proc/self/fd/"
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
            cert, key = _content("cert", config.cert), _content("key", config.key)
            authorities = b"" if config.client_ca is None else _content("client_ca", config.client_ca)
            self._context = _context(config, cert, key, authorities)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: tls_server_config: {_reason(error)}") from error
        self._own, self._authorities = _validities(cert), _validities(authorities)

    def problem(self, now: float) -> str:
        """Why every client is refused, or refuses this server, at `now` (Unix seconds); empty if none does."""
        if own := certificate_dates.describe_problem(self._own, now):
            return f"the certificate of cert_file {own}: clients reject this server"
        authorities = certificate_dates.describe_problem_of_all(self._authorities, now)
        return f"the certificate of client_ca_file {authorities}: clients are refused" if authorities else ""

    def wrap(self, connected: socket.socket) -> ssl.SSLSocket:
        """A TLS socket before its handshake; it replaces the given one."""
        return self._context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)

    def refuses(self, connected: Any) -> bool:
        """Whether the client's certificate has none of the `client_allowed_sans`."""
        if not self._names:
            return False
        certificate = connected.getpeercert() or {}
        return not any(value in self._names for _, value in certificate.get("subjectAltName", ()))


def _context(config: TlsConfig, cert: bytes, key: bytes, authorities: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = (_VERSIONS[name] for name in config.versions)
    if config.server_prefers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if config.ciphers:
        context.set_ciphers(":".join(config.ciphers))
    with _file(cert) as cert_path, _file(key) as key_path:
        context.load_cert_chain(cert_path, key_path, password=_no_password)
    if authorities:
        with _file(authorities) as path:
            context.load_verify_locations(path)
    context.verify_mode = _VERIFY[config.client_auth]
    return context


def _validities(pem: bytes) -> list[Validity]:
    return certificate_dates.read_validities(pem.decode("ascii", "replace"))


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase, readable by this process alone")


def _content(key: str, pem: Pem) -> bytes:
    if pem.path is None:
        content, name = pem.text.encode(errors="replace"), f"{key}:"
    else:
        content, name = bounded_files.read_bytes(pem.path, bounded_files.MOST_PEM_BYTES), f"{key}_file: {pem.path}"
    if not _BEGINS[key].search(content):
        raise ValueError(f"{name} holds no {_NOUNS[key]} in PEM")
    return content


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A file with this content, for `ssl`, which reads files only.

    It is not the file that the user named: that one may be replaced, by a FIFO too, after it was checked.
    """
    descriptor, name = _in_memory() or tempfile.mkstemp()  # readable by this user alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield name
    finally:
        if not name.startswith(_DESCRIPTORS):
            Path(name).unlink()


def _in_memory() -> tuple[int, str] | None:
    """A file that is on no disk, so that no copy of a key can stay there; None where the system has none."""
    try:
        descriptor = os.memfd_create("pem")
    except (AttributeError, OSError):
        return None
    name = f"{_DESCRIPTORS}{descriptor}"
    if Path(name).exists():
        return descriptor, name
    os.close(descriptor)
    return None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if isinstance(error, ssl.SSLError):
        return f"a certificate or key is not PEM that OpenSSL reads ({reason or 'unknown reason'})"
    return str(error)
