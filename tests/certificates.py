"""A certificate authority of a test, the certificates that it issues, and web configuration files that name them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import bcrypt
import trustme


class Certificates:
    """`ca.crt`, `server.crt`, `client.crt` and their keys in a folder; `other` is a foreign authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.other = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(folder / "ca.crt")
        self.issue("server", "127.0.0.1", "localhost")
        self.issue("client", "prometheus.internal")

    def issue(self, name: str, *identities: str, authority: None = None, **dates: Any) -> None:
        issued = (authority or self.authority).issue_cert(*identities, **dates)
        issued.private_key_pem.write_to_path(self.folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(self.folder / f"{name}.crt")

    def context(self, client: Any = "") -> Any:
        """What a client uses that trusts the authority, with a certificate of its own where one is named."""
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if client:
            context.load_cert_chain(self.folder / f"{client}.crt", self.folder / f"{client}.key")
        return context

    def config(self, name: str, *lines: str) -> Path:
        """A web configuration file with TLS and further lines."""
        path = self.folder / name
        tls = ("tls_server_config:", "  cert_file: server.crt", "  key_file: server.key")
        path.write_text("\n".join((*tls, *lines, "")))
        return path


def hashed(password: str) -> str:
    """A bcrypt hash of the lowest cost, as `htpasswd` writes it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
