"""What a call costs. Pure: frozen price rows and a `Call` in, a `Bill` out.

Rules, each read at https://platform.claude.com/docs/en/about-claude/pricing on 2026-11-21 unless a row says otherwise:
batch halves, fast multiplies, US inference geography multiplies by 1.1 on Claude 4.6 and later, regional endpoints of
cloud platforms by 1.1; the factors stack. A long prompt (input + cache reads + cache writes above the model's limit)
reprices the whole request. Cache reads have their own price on every model.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import NamedTuple

from . import price_file
from .call import Bill, Call, Cost, Inference
from .price_file import Model, PriceFile, Rates

_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
# claude-sonnet-4-5-20250929, claude-opus-4-6@20260205, us.anthropic.claude-opus-4-6-v1:0: one price, the bare name's.
_DECORATION = re.compile(r"^(?:[a-z-]+\.)?anthropic\.|@.*$|-v\d+(?::\d+)?$|-latest$")
_DATE = re.compile(r"-20\d{6}$")


class Card(NamedTuple):
    """The rates of one kind of request on one UTC day, factors applied."""

    day: int
    rates: Rates
    long_rates: Rates | None
    long_above_tokens: int
    min_cacheable_tokens: int


class PriceBook:
    """Frozen prices with a cache of resolved rate cards; safe to share between threads.

    Args:
        file: rows of the shipped book, with a user's rows laid over them.
    """

    def __init__(self, file: PriceFile) -> None:
        self.models = dict(file.models)
        self.server_tools = dict(file.server_tools)
        self._cards: dict[tuple[str, str, str, bool], Card | None] = {}

    @classmethod
    def load(cls, path: str | Path | None = None) -> PriceBook:
        """Load the shipped book, with the file at `path` laid over it model by model.

        Raises:
            ConfigurationError: the user's file has a mistake; names file, line and key.
        """
        shipped = price_file.read(price_file.SHIPPED)
        if path is None:
            return cls(shipped)
        own = price_file.read(Path(path))
        return cls(PriceFile(shipped.models | own.models, shipped.server_tools | own.server_tools))

    @property
    def checked(self) -> dt.date:
        """The day on which the oldest row was last compared with its source."""
        return min((model.checked for model in self.models.values()), default=_EPOCH)

    def model(self, name: str) -> Model | None:
        """The rows of a model by any of its ids: bare, dated, or as a cloud platform spells it."""
        bare = _DECORATION.sub("", _DECORATION.sub("", name))
        return self.models.get(name) or self.models.get(bare) or self.models.get(_DATE.sub("", bare))

    def card(self, model: str, call: Call) -> Card | None:
        """The rate card of one inference of `call`; None where the book has no price for it."""
        day = int(call.started_at // _SECONDS_PER_DAY)
        key = (model, call.tier, call.inference_geo, call.regional)
        card = self._cards.get(key)
        if card is None or card.day != day:
            card = self._resolve(model, day, _factor_names(call))
            if card is not None:
                self._cards[key] = card
        return card

    def _resolve(self, name: str, day: int, factor_names: tuple[str, ...]) -> Card | None:
        model = self.model(name)
        if model is None:
            return None
        date = _EPOCH + dt.timedelta(days=day)
        row = next((row for row in model.rows if row.start <= date < row.end), None)
        if row is None or ("fast" in factor_names and "fast" not in row.factors):
            return None
        factor = 1.0
        for factor_name in factor_names:
            factor *= row.factors.get(factor_name, 1.0)
        long_rates = _scaled(row.long_rates, factor) if row.long_rates else None
        return Card(day, _scaled(row.rates, factor), long_rates, row.long_above_tokens, model.min_cacheable_tokens)

    def bill(self, call: Call) -> Bill:
        """Price a call. The bill of a free refusal is zero; an unknown model has the cost None, never a guess."""
        costs: list[Cost | None] = []
        total = miss = savings = premium = 0.0
        result = _cache_result(call, 0)
        for inference in call.inferences:
            card = self.card(inference.model, call)
            if card is None:
                costs.append(None)
                continue
            rates = _rates_for(card, inference)
            cost = _cost(rates, inference) if call.billable else _FREE
            costs.append(cost)
            total += cost[0] + cost[1] + cost[2] + cost[3] + cost[4]
            if call.cache_asked:
                result = _cache_result(call, card.min_cacheable_tokens)
                saved, paid = _cache_economics(rates, inference)
                savings += saved
                premium += paid
                if result == "miss" and call.billable:
                    miss += max(0.0, sum(cost[:4]) - inference.tokens.prompt * rates.cache_read)
        tools = self._tool_costs(call) if call.server_tools else ()
        for _, usd in tools:
            total += usd
        return Bill(tuple(costs), tools, total, result, miss, savings, premium)

    def _tool_costs(self, call: Call) -> tuple[tuple[str, float], ...]:
        return tuple((tool, count * self.server_tools.get(tool, 0.0)) for tool, count in call.server_tools)


_FREE = Cost()


def _factor_names(call: Call) -> tuple[str, ...]:
    names = [call.tier] if call.tier in ("batch", "fast") else []
    if call.inference_geo == "us":
        names.append("geo_us")
    if call.regional:
        names.append("regional")
    return tuple(names)


def _scaled(rates: Rates, factor: float) -> Rates:
    return rates if factor == 1.0 else Rates(*(rate * factor for rate in rates))


def _rates_for(card: Card, inference: Inference) -> Rates:
    if card.long_rates is not None and inference.tokens.prompt > card.long_above_tokens:
        return card.long_rates
    return card.rates


def _cost(rates: Rates, inference: Inference) -> Cost:
    tokens = inference.tokens
    return Cost(
        tokens[0] * rates[0], tokens[1] * rates[1], tokens[2] * rates[2], tokens[3] * rates[3], tokens[4] * rates[4]
    )


def _cache_economics(rates: Rates, inference: Inference) -> tuple[float, float]:
    """Dollars saved by reads against plain input, and paid for writes above plain input."""
    tokens, plain = inference.tokens, rates.input
    saved = tokens.cache_read * (plain - rates.cache_read)
    paid = tokens.cache_write_5m * (rates.cache_write_5m - plain) + tokens.cache_write_1h * (
        rates.cache_write_1h - plain
    )
    return saved, paid


def _cache_result(call: Call, min_cacheable_tokens: int) -> str:
    if not call.cache_asked:
        return "unasked"
    read = prompt = 0
    for inference in call.inferences:
        read += inference.tokens.cache_read
        prompt = max(prompt, inference.tokens.prompt)
    if read:
        return "hit"
    return "miss" if prompt >= min_cacheable_tokens else "ineligible"
