"""The version of this library, as it was installed."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version

__version__: str


@functools.cache
def installed(distribution: str) -> str:
    """The installed version of a distribution; "unknown" if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def __getattr__(name: str) -> str:
    """Look up `__version__` on first access, because it is read from files."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return installed("anthropic-exporter")
