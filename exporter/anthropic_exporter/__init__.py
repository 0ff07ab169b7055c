"""What your Claude calls cost, on /metrics, in seconds and to the micro-dollar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.attribution import attribution
from anthropic_exporter.call import Bill, Call, Cost, Inference, Tokens
from anthropic_exporter.errors import AnthropicExporterError, ConfigurationError, SpendLimitExceeded
from anthropic_exporter.host.port import ServiceHandle
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.serving import serve
from anthropic_exporter.web.metrics_app import metrics_app
from anthropic_exporter.web.server import Server

if TYPE_CHECKING:
    from anthropic_exporter.capture.instrument import instrument
    from anthropic_exporter.publisher import publish, publishing

__all__ = [
    "AnthropicExporterError",
    "Bill",
    "Call",
    "ConfigurationError",
    "Cost",
    "Inference",
    "Recorder",
    "Server",
    "ServiceHandle",
    "SpendLimitExceeded",
    "Tokens",
    "__version__",
    "attribution",
    "instrument",
    "metrics_app",
    "publish",
    "publishing",
    "serve",
]


def __getattr__(name: str) -> object:
    """Import what only some users need when they use it: the SDK's middleware, and the way to a queue."""
    if name == "instrument":
        from anthropic_exporter.capture.instrument import instrument  # noqa: PLC0415 - see above

        return instrument
    if name in ("publish", "publishing"):
        from anthropic_exporter.publisher import publisher  # noqa: PLC0415 - see above

        return getattr(publisher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
