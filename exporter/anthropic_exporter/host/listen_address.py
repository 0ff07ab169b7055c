"""Where a service listens."""

from __future__ import annotations

from typing import NamedTuple


class ListenAddress(NamedTuple):
    """A host, a TCP port, and the scheme."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The address of the landing page, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
