"""TLS of queues: files that a URL names, checked when the program starts, and what to say when a handshake fails."""

from __future__ import annotations

import ssl

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.address import Address

_MOST_CAUSES = 10
#: OpenSSL's codes (openssl-verification-options(1), X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED).
_OUT_OF_DATE = {
    9: "the server's certificate is not valid yet: check it, and this machine's clock",
    10: "the server's certificate has expired: renew it, or check this machine's clock",
}
_UNTRUSTED = "the server's certificate is not trusted: check ssl_ca_certs and the host's name"


def trusting(path: str, address: Address) -> ssl.SSLContext:
    """A context that trusts the certificates in a file.

    Raises:
        ConfigurationError: the file cannot be read, or holds no certificates.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ConfigurationError(f"queue {address.shown}: ssl_ca_certs: {path}: holds no certificate (PEM)") from error
    except OSError as error:
        raise ConfigurationError(f"queue {address.shown}: ssl_ca_certs: {path}: {error.strerror}") from error


def detail(error: BaseException) -> str:
    """The type of an error; of a failed handshake what to check."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _OUT_OF_DATE.get(cause.verify_code, _UNTRUSTED)
        if isinstance(cause, ssl.SSLError):
            return "TLS failed: check whether the server speaks it, and its certificates"
        cause = None if cause is None else cause.__cause__ or cause.__context__
    return type(error).__name__
