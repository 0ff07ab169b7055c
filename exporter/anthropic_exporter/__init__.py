"""What your Claude calls cost, on /metrics, in seconds and to the micro-dollar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .__about__ import __version__
from .attribution import attribution
from .call import Bill, Call, Cost, Inference, Tokens
from .errors import AnthropicExporterError, ConfigurationError, SpendLimitExceeded
from .recorder import Recorder
from .server import Server, serve

if TYPE_CHECKING:
    from .capture import instrument

__all__ = [
    "AnthropicExporterError",
    "Bill",
    "Call",
    "ConfigurationError",
    "Cost",
    "Inference",
    "Recorder",
    "Server",
    "SpendLimitExceeded",
    "Tokens",
    "__version__",
    "attribution",
    "instrument",
    "serve",
]


def __getattr__(name: str) -> object:
    """Import the SDK only for those who use it: `instrument` is the one name here that needs it."""
    if name == "instrument":
        from .capture import instrument  # noqa: PLC0415 - see above

        return instrument
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
