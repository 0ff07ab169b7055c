"""Which model can replace another, and how many tokens the same text has on it."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import Model, Row

_NAME = re.compile(r"claude-(?P<family>[a-z]+)-(?P<major>\d+)(?:-(?P<minor>\d{1,2}))?$")
#: Claude 4.7 and later count about 30 % more tokens for the same text than earlier models. Source: Anthropic's overview
#: of Claude Haiku 5.5, read 2026-11-30.
TOKENIZER_RATIO = 1.3
TOKENIZER_SOURCE = "Anthropic's overview of Claude Haiku 5.5, read 2026-11-30"
_NEW_TOKENIZER = (4, 7)


class Generation(NamedTuple):
    """A model's family and version."""

    family: str
    version: tuple[int, int]


def generation(model: str) -> Generation | None:
    """The family and version in a model's bare name; None if it has another form."""
    found = _NAME.match(model)
    return None if found is None else Generation(found["family"], (int(found["major"]), int(found["minor"] or 0)))


def token_ratio(model: str, other: str) -> float:
    """Tokens of a text on `other` for each token of it on `model`."""
    a, b = generation(model), generation(other)
    if a is None or b is None:
        return 1.0
    changes = (b.version >= _NEW_TOKENIZER) - (a.version >= _NEW_TOKENIZER)
    return TOKENIZER_RATIO**changes


def newest_of_family(model: str, book: PriceBook, day: dt.date) -> Model | None:
    """The newest model of the same family that has a price on a day; None if that is the model itself."""
    own = generation(model)
    found = [
        (other.version, candidate)
        for candidate in book.models.values()
        if own is not None
        and (other := generation(candidate.name)) is not None
        and other.family == own.family
        and other.version > own.version
        and row_on(candidate, day) is not None
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def row_on(model: Model, day: dt.date) -> Row | None:
    """The prices that hold on a day."""
    return next((row for row in model.rows if row.start <= day < row.end), None)
