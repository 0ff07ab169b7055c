"""What your Claude calls cost, on /metrics, in seconds and to the micro-dollar."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from anthropic_exporter.attribution import attribution
from anthropic_exporter.call import Bill, Call, Cost, Inference, Tokens
from anthropic_exporter.errors import AnthropicExporterError, ConfigurationError, SpendLimitExceeded
from anthropic_exporter.recorder import Recorder

if TYPE_CHECKING:
    from anthropic_exporter.__about__ import __version__
    from anthropic_exporter.capture.instrument import instrument
    from anthropic_exporter.host.port import ServiceHandle
    from anthropic_exporter.publisher import publish, publishing
    from anthropic_exporter.serving import serve
    from anthropic_exporter.web.metrics_app import metrics_app
    from anthropic_exporter.web.server import Server

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


#: Names that a process needs later, or never, and their modules.
_LATER = {
    "Server": "web.server",
    "ServiceHandle": "host.port",
    "__version__": "__about__",
    "instrument": "capture.instrument",
    "metrics_app": "web.metrics_app",
    "publish": "publisher.publisher",
    "publishing": "publisher.publisher",
    "serve": "serving",
}


def __getattr__(name: str) -> object:
    """Import the SDK's middleware, the server and the way to a queue when they are used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
