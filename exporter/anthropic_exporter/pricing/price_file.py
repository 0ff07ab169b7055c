"""Reads and checks a price file and returns frozen rows. Errors name file, line and key."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.yaml_with_lines import Mapping

SHIPPED = Path(__file__).with_name("prices.yml")
RATE_KEYS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
FACTORS = ("batch", "fast", "geo_us", "regional", "us_gov")
SHIPPED_ORIGIN, FILE_ORIGIN = "shipped", "file"
_FOREVER = dt.date.max
#: The `checked` of rows that do not say when they were compared with their source.
UNCHECKED = dt.date(1970, 1, 1)
#: Minimum number of cacheable tokens for a model whose minimum is unknown.
USUAL_MINIMUM_TOKENS = 1024


class Rates(NamedTuple):
    """Dollars per token, by the same partition as `Tokens`."""

    input: float
    cache_read: float
    cache_write_5m: float
    cache_write_1h: float
    output: float


class Row(NamedTuple):
    """Prices of one model for requests of the UTC days from `start` (inclusive) to `end` (exclusive)."""

    start: dt.date
    end: dt.date
    rates: Rates
    long_rates: Rates | None
    long_above_tokens: int
    factors: dict[str, float]


class Model(NamedTuple):
    """All dated rows of one model, and where they were read.

    `factors` are those of the whole model; `rows` hold them too. `origin` is `shipped`, `file` or `genai-prices`.
    """

    name: str
    rows: tuple[Row, ...]
    min_cacheable_tokens: int
    source: str
    checked: dt.date
    factors: dict[str, float]
    origin: str = SHIPPED_ORIGIN


class PriceFile(NamedTuple):
    """A whole price file: models by name, dollars per server tool request by tool, and of an hour of a session."""

    models: dict[str, Model]
    server_tools: dict[str, float]
    session_runtime_usd_per_hour: float = 0.0


@functools.cache
def shipped() -> PriceFile:
    """The book in the package; read once a process."""
    return _Reader(SHIPPED, PriceFile({}, {}), SHIPPED_ORIGIN).file(yaml_with_lines.load(SHIPPED))


def read(path: Path) -> PriceFile:
    """Read a user's price file and lay it over the shipped book.

    Of a model that the book has, the file replaces only what it contains: factors, minimum and source stay.

    Raises:
        ConfigurationError: naming file, line and key of the first mistake.
    """
    base = shipped()
    own = _Reader(path, base, FILE_ORIGIN).file(yaml_with_lines.load(path))
    runtime = own.session_runtime_usd_per_hour
    return PriceFile(base.models | own.models, base.server_tools | own.server_tools, runtime)


class _Reader:
    """Turns marked YAML into rows; holds the path for its messages and the book that the file is laid over."""

    def __init__(self, path: Path, base: PriceFile, origin: str) -> None:
        self.path = path
        self.base = base
        self.origin = origin

    def fail(self, mapping: Mapping, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}:{mapping.lines.get(key, mapping.line)}: {key}: {problem}")

    def file(self, root: Mapping) -> PriceFile:
        self.only(root, {"version", "models", "server_tools", "session_runtime"})
        if root.get("version", 1) != 1:
            raise self.fail(root, "version", f"this release reads version 1, not {root['version']!r}")
        tools = self.mapping(root, "server_tools") if "server_tools" in root else Mapping()
        models = self.mapping(root, "models") if "models" in root else Mapping()
        return PriceFile(
            {name: self.model(models, name) for name in models},
            {name: self.tool(tools, name) for name in tools},
            self.runtime(root) if "session_runtime" in root else self.base.session_runtime_usd_per_hour,
        )

    def only(self, mapping: Mapping, known: set[str]) -> None:
        for key in mapping:
            if key not in known:
                raise self.fail(mapping, key, f"unknown key; known keys: {', '.join(sorted(known))}")

    def mapping(self, parent: Mapping, key: str) -> Mapping:
        value = parent.get(key)
        if not isinstance(value, Mapping):
            raise self.fail(parent, key, "expected a mapping")
        return value

    def number(self, parent: Mapping, key: str) -> float:
        value = parent.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
            raise self.fail(parent, key, f"expected a number of 0 or more, got {_short(value)}")
        return float(value)

    def count(self, parent: Mapping, key: str) -> int:
        value = self.number(parent, key)
        if value != int(value):
            raise self.fail(parent, key, f"expected a whole number, got {_short(parent[key])}")
        return int(value)

    def day(self, parent: Mapping, key: str, default: dt.date) -> dt.date:
        value = parent.get(key, default)
        if type(value) is not dt.date:
            raise self.fail(parent, key, f"expected a date such as 2026-11-21, got {_short(value)}")
        return value

    def tool(self, tools: Mapping, name: str) -> float:
        entry = self.mapping(tools, name)
        self.only(entry, {"usd_per_request", "source", "checked"})
        return self.number(entry, "usd_per_request")

    def runtime(self, root: Mapping) -> float:
        entry = self.mapping(root, "session_runtime")
        self.only(entry, {"usd_per_hour", "source", "checked"})
        return self.number(entry, "usd_per_hour")

    def model(self, models: Mapping, name: str) -> Model:
        entry, known = self.mapping(models, name), self.base.models.get(name)
        self.only(entry, {"source", "checked", "min_cacheable_tokens", "factors", "prices"})
        factors = self.factors(entry) if "factors" in entry or known is None else known.factors
        minimum, source, checked = USUAL_MINIMUM_TOKENS, str(self.path), UNCHECKED
        if known is not None:
            minimum = known.min_cacheable_tokens
        if "prices" in entry or known is None:
            rows = self.rows(entry, factors)
        else:
            rows = tuple(row._replace(factors={**row.factors, **factors}) for row in known.rows)
            source, checked = known.source, known.checked
        return Model(
            name,
            rows,
            self.count(entry, "min_cacheable_tokens") if "min_cacheable_tokens" in entry else minimum,
            str(entry.get("source", source)),
            self.day(entry, "checked", checked),
            factors,
            self.origin,
        )

    def rows(self, entry: Mapping, factors: dict[str, float]) -> tuple[Row, ...]:
        rows = entry.get("prices")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
            raise self.fail(entry, "prices", "expected a list of rows")
        return self.ordered(entry, [self.row(row, factors) for row in rows])

    def ordered(self, entry: Mapping, rows: list[Row]) -> tuple[Row, ...]:
        rows.sort(key=lambda row: row.start)
        for earlier, later in itertools.pairwise(rows):
            if later.start < earlier.end:
                raise self.fail(entry, "prices", f"two rows apply on {later.start}; give the earlier one an `until`")
        return tuple(rows)

    def row(self, row: Mapping, factors: dict[str, float]) -> Row:
        self.only(row, {"from", "until", "factors", "long_prompt", *RATE_KEYS})
        start, end = self.day(row, "from", dt.date.min), self.day(row, "until", _FOREVER)
        if end <= start:
            raise self.fail(row, "until", f"expected a date after `from`: {end} is not after {start}")
        long = self.mapping(row, "long_prompt") if "long_prompt" in row else None
        if long is not None:
            self.only(long, {"above_prompt_tokens", *RATE_KEYS})
        return Row(
            start,
            end,
            self.rates(row),
            self.rates(long) if long is not None else None,
            self.count(long, "above_prompt_tokens") if long is not None else 0,
            {**factors, **self.factors(row)},
        )

    def rates(self, row: Mapping) -> Rates:
        return Rates(*(self.number(row, key) / 1_000_000 for key in RATE_KEYS))

    def factors(self, entry: Mapping) -> dict[str, float]:
        if "factors" not in entry:
            return {}
        factors = self.mapping(entry, "factors")
        self.only(factors, set(FACTORS))
        return {key: self.number(factors, key) for key in factors}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 - one line of a message
