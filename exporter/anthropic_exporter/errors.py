"""What this library raises, and only at set-up: never into a call of the application.

AnthropicExporterError
  + ConfigurationError     a wrong argument, file, address or registry; the message is one line that says what to do
"""

from __future__ import annotations


class AnthropicExporterError(Exception):
    """Base class of everything this library raises on purpose."""


class ConfigurationError(AnthropicExporterError):
    """A wrong argument, file, address or registry. One line: where, and what to do. The CLI exits with code 2."""
