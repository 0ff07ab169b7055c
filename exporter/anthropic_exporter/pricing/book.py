"""What a call costs. Pure: takes frozen price rows and a `Call`, returns a `Bill`.

Source of each rule, unless it names another: platform.claude.com/docs/en/about-claude/pricing, read 2026-11-21.

- Message batches cost half, fast mode a multiple; the two do not combine, a call has one tier.
- `inference_geo: us` multiplies every token price by 1.1 on Claude 4.6 and later, regional endpoints of Bedrock and
  Google Cloud by 1.1 on Claude 4.5 and later; these stack with the tier. Server tools have no such factor.
- A prompt (input + cache reads + cache writes) above the limit of a model that has one reprices the whole request.
- Cache reads have their own price on every model; nothing here derives it from input.
- The row in force on the UTC day on which the request starts applies.
- A tier without a factor in the row (fast mode on a model that does not have it) has no price: we never guess.
- A refusal before any output is free but in some categories (handling stop reasons, read 2026-11-21): `Call.billable`.
- Priority Tier has no public price a token: standard prices, flagged in `Call.estimates`.
- A tier without a factor in the row (flex, or one that is not documented) has no price.
- An attempt of a server-side fallback that declined is free but in some categories; the prefix that was warm on it is
  billed to the serving model as a read (cookbook fable_5_fallback_billing, read 2026-11-30).
- Ids say where a model runs and how fast (`wire/model_ids.py`); AWS GovCloud costs 1.2 times (LiteLLM 1.110, read
  2026-11-30; no first-party page).
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter.call import Bill, Call, Cost, Inference, Tokens
from anthropic_exporter.pricing import price_file
from anthropic_exporter.pricing.price_file import UNCHECKED, Model, PriceFile, Rates, Row
from anthropic_exporter.wire.model_ids import REGIONAL, US_GOV, ModelId, identify

UNKNOWN = "none"
_AT_STANDARD_PRICES = frozenset({"standard", "priority"})
_PLACES = frozenset({"geo_us", "regional", "us_gov"})
_SECONDS_PER_HOUR = 3_600
_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
# More than all spellings of an id times tiers and geographies: beyond it, a server sends made-up ids.
_MOST_CARDS = 2_000
_DATE = re.compile(r"-20\d{6}$")


class Card(NamedTuple):
    """The rates of one kind of request on one UTC day, factors applied; `start` and `end` are Unix seconds.

    `regional` is the factor that a regional endpoint of a cloud platform has on this model; 1 where it has none.
    """

    start: float
    end: float
    rates: Rates
    long_rates: Rates | None
    long_above_tokens: int
    regional: float


class PriceBook:
    """Frozen prices with a cache of resolved rate cards; safe to share between threads.

    Args:
        file: rows of the shipped book, with a user's rows laid over them.
    """

    def __init__(self, file: PriceFile) -> None:
        self.models = dict(file.models)
        self.server_tools = dict(file.server_tools)
        self.session_runtime_usd_per_hour = file.session_runtime_usd_per_hour
        self._cards: dict[tuple[str, str, str, bool], Card] = {}

    @classmethod
    def load(cls, path: str | Path | None = None) -> PriceBook:
        """Load the shipped book, with the file at `path` laid over it model by model.

        Raises:
            ConfigurationError: the user's file has a mistake; names file, line and key.
        """
        return cls(price_file.shipped() if path is None else price_file.read(Path(path)))

    def extended(self, found: dict[str, Model]) -> PriceBook:
        """Return this book with models from elsewhere added; models that the book already has stay as they are."""
        return PriceBook(PriceFile({**found, **self.models}, self.server_tools, self.session_runtime_usd_per_hour))

    @property
    def checked(self) -> dt.date:
        """The oldest day on which a row was last compared with its source; rows without a day are ignored."""
        days = [model.checked for model in self.models.values() if model.checked > UNCHECKED]
        return min(days, default=UNCHECKED)

    def model(self, name: str) -> Model | None:
        """The rows of a model by any of its ids: bare, dated, or as a cloud platform spells it."""
        bare = bare_name(name)
        return self.models.get(name) or self.models.get(bare) or self.models.get(_DATE.sub("", bare))

    def source(self, name: str) -> str:
        """Where the prices of a model come from: `shipped`, `file`, `genai-prices`, or `none`."""
        model = self.model(name)
        return UNKNOWN if model is None else model.origin

    def card(self, model: str, call: Call) -> Card | None:
        """Return the rate card of one inference of `call`, or None if the book has no price for it."""
        at, key = call.started_at, (model, call.tier, call.inference_geo, call.regional)
        card = self._cards.get(key)
        if card is not None and card.start <= at < card.end:
            return card
        card = self._resolve(model, int(at // _SECONDS_PER_DAY), _factor_names(call, identify(model)))
        if card is not None:
            if len(self._cards) >= _MOST_CARDS:
                self._cards.clear()
            self._cards[key] = card
        return card

    def _resolve(self, name: str, day: int, factor_names: tuple[str, ...]) -> Card | None:
        model = self.model(name)
        if model is None:
            return None
        date = _EPOCH + dt.timedelta(days=day)
        row = next((row for row in model.rows if row.start <= date < row.end), None)
        if row is None or not _has_price_of(row, factor_names):
            return None
        factor = 1.0
        for factor_name in factor_names:
            factor *= row.factors.get(factor_name, 1.0)
        long_rates = _scaled(row.long_rates, factor) if row.long_rates else None
        start, rates = float(day * _SECONDS_PER_DAY), _scaled(row.rates, factor)
        end, regional = start + _SECONDS_PER_DAY, row.factors.get("regional", 1.0)
        return Card(start, end, rates, long_rates, row.long_above_tokens, regional)

    def bill(self, call: Call) -> Bill:
        """Price a call. A free refusal costs zero; the cost of an unknown model is None, never a guess."""
        costs: list[Cost | None] = []
        total = miss = savings = premium = 0.0
        asked = call.cache_asked
        result = _cache_result(call) if asked else "unasked"
        for inference in call.inferences:
            card = self.card(inference[0], call)
            if card is None:
                costs.append(None)
                continue
            tokens = inference[1]
            rates = card.rates if card.long_rates is None else _rates_for(card, tokens)
            billed = call.billable and inference[2]
            cost = _cost(rates, tokens) if billed else _FREE
            if inference[4] and billed:
                cost = _as_reads(cost, rates, inference)
            costs.append(cost)
            total += cost[0] + cost[1] + cost[2] + cost[3] + cost[4]
            if asked and billed:
                saved, paid = _cache_economics(rates, _as_billed(inference) if inference[4] else tokens)
                savings += saved
                premium += paid
                if result == "miss":
                    paid = cost[0] + cost[1] + cost[2] + cost[3]  # `sum` rounds in another way from Python 3.12 on
                    miss += max(0.0, paid - tokens.prompt * rates.cache_read)
        tools = self._tool_costs(call) if call.server_tools or call.session_seconds else ()
        total += sum(usd for _, usd in tools)
        estimates = self._estimates(call, costs) if call.estimates else ()
        return Bill(tuple(costs), tools, total, result, miss, savings, premium, estimates)

    def _estimates(self, call: Call, costs: list[Cost | None]) -> tuple[tuple[str, float], ...]:
        """The uncertain part of the dollars, by reason; reasons worth nothing are left out."""
        found: dict[str, float] = {}
        for inference, cost in zip(call.inferences, costs, strict=True):
            card = self.card(inference.model, call)
            if cost is not None and card is not None:
                for reason in call.estimates:
                    found[reason] = found.get(reason, 0.0) + _uncertain(reason, inference, cost, card, call)
        return tuple((reason, usd) for reason, usd in found.items() if usd)

    def _tool_costs(self, call: Call) -> tuple[tuple[str, float], ...]:
        tools = tuple((tool, count * self.server_tools.get(tool, 0.0)) for tool, count in call.server_tools)
        if call.session_seconds:
            runtime = call.session_seconds * self.session_runtime_usd_per_hour / _SECONDS_PER_HOUR
            tools = (*tools, ("session_runtime", runtime))
        return tools


_FREE = Cost()


def bare_name(name: str) -> str:
    """A model's id without the prefixes and suffixes of gateways and cloud platforms; a date stays."""
    return identify(name).bare or name


def _has_price_of(row: Row, factor_names: tuple[str, ...]) -> bool:
    """Whether the row has the tier at all. Geography and region cost nothing extra on models without such a factor."""
    return all(name in row.factors for name in factor_names if name not in _PLACES)


def _factor_names(call: Call, model: ModelId) -> tuple[str, ...]:
    """The factors of a call: its tier, which has no price where the row has no such factor, and where it ran."""
    tier = "fast" if model.fast and call.tier == "standard" else call.tier
    names = [tier] if tier not in _AT_STANDARD_PRICES else []
    if call.inference_geo == "us":
        names.append("geo_us")
    if call.inference_geo == "us-gov" or model.endpoint == US_GOV:
        names.append("us_gov")
    elif call.regional or model.endpoint == REGIONAL:
        names.append("regional")
    return tuple(names)


def _as_reads(cost: Cost, rates: Rates, inference: Inference) -> Cost:
    """The cost with those writes that are billed as reads, under the type that the response counts them as."""
    short, long = _rewritten(inference)
    return cost._replace(
        cache_write_5m=cost.cache_write_5m - short * (rates.cache_write_5m - rates.cache_read),
        cache_write_1h=cost.cache_write_1h - long * (rates.cache_write_1h - rates.cache_read),
    )


def _as_billed(inference: Inference) -> Tokens:
    """The tokens with those writes that are billed as reads counted as reads."""
    (short, long), tokens = _rewritten(inference), inference.tokens
    return tokens._replace(
        cache_read=tokens.cache_read + short + long,
        cache_write_5m=tokens.cache_write_5m - short,
        cache_write_1h=tokens.cache_write_1h - long,
    )


def _rewritten(inference: Inference) -> tuple[int, int]:
    """The writes that are billed as reads: 5m writes first, then 1h writes."""
    short = min(inference.rewritten, inference.tokens.cache_write_5m)
    return short, min(inference.rewritten - short, inference.tokens.cache_write_1h)


def _uncertain(reason: str, inference: Inference, cost: Cost, card: Card, call: Call) -> float:
    """The dollars of one inference that the invoice may differ by."""
    tokens = inference.tokens
    if reason == "fallback_hop":
        return 0.0 if inference.certain else sum(_cost(_rates_for(card, tokens), tokens))
    if reason == "fallback_credit":  # at most what rewriting the prefix cost above reading it
        rates = _rates_for(card, tokens)
        return sum(cost[2:4]) - (tokens.cache_write_5m + tokens.cache_write_1h) * rates.cache_read if any(cost) else 0.0
    if reason == "inference_profile":
        return 0.0 if call.regional else sum(cost) * (card.regional - 1.0)
    return sum(cost)


def _scaled(rates: Rates, factor: float) -> Rates:
    return rates if factor == 1.0 else Rates(*(rate * factor for rate in rates))


def _rates_for(card: Card, tokens: Tokens) -> Rates:
    if card.long_rates is not None and tokens.prompt > card.long_above_tokens:
        return card.long_rates
    return card.rates


def _cost(rates: Rates, tokens: Tokens) -> Cost:
    plain, read, write_5m, write_1h, out = rates
    return Cost(tokens[0] * plain, tokens[1] * read, tokens[2] * write_5m, tokens[3] * write_1h, tokens[4] * out)


def _cache_economics(rates: Rates, tokens: Tokens) -> tuple[float, float]:
    """Dollars saved by reads against plain input, and paid for writes above plain input."""
    plain, read, write_5m, write_1h, _ = rates
    return tokens[1] * (plain - read), tokens[2] * (write_5m - plain) + tokens[3] * (write_1h - plain)


def _cache_result(call: Call) -> str:
    """`hit` if it read, `miss` if it wrote without reading; a prompt that did neither was too short to cache."""
    if any(inference.tokens.cache_read for inference in call.inferences):
        return "hit"
    wrote = any(one.tokens.cache_write_5m or one.tokens.cache_write_1h for one in call.inferences)
    return "miss" if wrote else "ineligible"
