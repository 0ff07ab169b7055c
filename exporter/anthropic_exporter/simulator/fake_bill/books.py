"""What the fake bills: single uses, priced by a price book, added up by hour and dimension."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from anthropic_exporter.call import Call, Inference, Tokens
from anthropic_exporter.pricing.book import PriceBook

#: The bill's name of each type of token.
TOKEN_TYPES = {
    "input": "uncached_input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
}
_CENTS = Decimal(100)


class Use(NamedTuple):
    """One billed request: Unix seconds, usage, and the caller as the bill shows it.

    `extra_usd` are dollars of other cost types, such as `code_execution`.
    """

    at: float
    model: str | None
    tokens: Tokens = Tokens()
    service_tier: str | None = "standard"
    speed: str | None = "standard"
    api_key_id: str | None = "apikey_1"
    workspace_id: str | None = "wrkspc_1"
    product: str | None = "messages_api"
    inference_geo: str | None = "global"
    web_searches: int = 0
    extra_usd: Mapping[str, float] = {}


class Priced(NamedTuple):
    """Cents at list price of one use, by cost type and the bill's token type (None for what has none)."""

    use: Use
    cents: Mapping[tuple[str, str | None], Decimal]


class Books:
    """All uses, priced once.

    Args:
        uses: the billed requests.
        prices: the list prices.
        discount: the part of the list price that is paid.
        refreshed_at: how far the data reach, in Unix seconds; None is now.
        surcharge: factor on the list price of single models, to plant a price that the recorder does not know.
    """

    def __init__(
        self,
        uses: Iterable[Use],
        prices: PriceBook,
        *,
        discount: float = 1.0,
        refreshed_at: float | None = None,
        surcharge: Mapping[str, float] | None = None,
    ) -> None:
        self.discount = Decimal(str(discount))
        self.refreshed_at = refreshed_at
        self._surcharge = surcharge or {}
        self.priced = sorted((self._price(use, prices) for use in uses), key=lambda one: one.use.at)

    def _price(self, use: Use, prices: PriceBook) -> Priced:
        cents: dict[tuple[str, str | None], Decimal] = {
            (kind, None): Decimal(str(usd)) * _CENTS for kind, usd in use.extra_usd.items()
        }
        if use.web_searches:
            cents["web_search", None] = Decimal(use.web_searches)
        if use.model is not None and any(use.tokens):
            cents |= self._of_tokens(use, use.model, prices)
        return Priced(use, cents)

    def _of_tokens(self, use: Use, model: str, prices: PriceBook) -> dict[tuple[str, str | None], Decimal]:
        tier = "fast" if use.speed == "fast" else use.service_tier or "standard"
        call = Call(
            model,
            inferences=(Inference(model, use.tokens),),
            tier=tier,
            started_at=use.at,
            inference_geo=use.inference_geo or "",
        )
        (cost,) = prices.bill(call).costs
        factor = Decimal(str(self._surcharge.get(model, 1)))
        return {
            ("tokens", TOKEN_TYPES[kind]): Decimal(repr(usd)) * _CENTS * factor
            for kind, usd in (cost._asdict() if cost else {}).items()
            if usd
        }

    def between(self, start: float, end: float, wanted: Callable[[Use], bool] = lambda _: True) -> list[Priced]:
        """The uses from `start` to before `end`."""
        return [one for one in self.priced if start <= one.use.at < end and wanted(one.use)]


def add_tokens(uses: Sequence[Priced]) -> Tokens:
    """The tokens of all uses."""
    return Tokens(*(sum(column) for column in zip(*(one.use.tokens for one in uses), strict=True)))


def iso(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """RFC 3339 as Unix seconds."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
