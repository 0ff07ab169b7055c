"""How much of a text is kept: names come from applications, gateways and servers, and one of 10 kB is not a name."""

from __future__ import annotations

MOST_CHARS = 128


def kept(text: str) -> str:
    """The text, cut to 128 characters. A label folds what is longer than 120 into `other`, so nothing is mistaken."""
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS]
