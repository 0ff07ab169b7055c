"""The version of this library, as it was installed."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version


@functools.cache
def installed(distribution: str) -> str:
    """The installed version of a distribution; "unknown" where it was never installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


__version__ = installed("anthropic-exporter")
