"""Cuts text before it is stored: names come from applications, gateways and servers, and may be 10 kB long."""

from __future__ import annotations

MOST_CHARS = 128


def text_of(name: object) -> str:
    """A name as text. A member of an `Enum` that is a string too is its value, which is what it equals."""
    return str.__str__(name) if isinstance(name, str) else str(name)


def kept(text: str) -> str:
    """The text, cut to 128 characters. Labels fold text above 120 characters into `other`: no cut name is shown."""
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS]
