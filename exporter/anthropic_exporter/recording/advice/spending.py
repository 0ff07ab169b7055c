"""Counts dollars that a change would save: answers that can wait, are cut off or overlong; long prompts; regions."""

from __future__ import annotations

import math

from anthropic_exporter.call import Bill, Call, Inference
from anthropic_exporter.pricing.book import Card, PriceBook, bare_name
from anthropic_exporter.recording.advice import sums as s
from anthropic_exporter.recording.advice.sums import Sums

#: Regions that have, or may have, prices of their own.
SOMEWHERE = frozenset({"us", "us-gov"})
#: An answer is overlong beyond 8 times the usual (geometric mean) length, from 20 answers and 2,000 tokens on.
_TIMES, _FEWEST_ANSWERS, _SHORTEST = 8.0, 20, 2_000
_log = math.log
#: Read at each call: a name of this module is found faster than one of another.
_UNSTREAMED, _ANSWERS, _LOGS = s.UNSTREAMED, s.ANSWERS, s.LOGS


def write(unstreamed_usd: float, output_usd: float, output: int, sums: Sums, is_cut_off: bool) -> None:
    """Count one priced call.

    Args:
        unstreamed_usd: its dollars, if it is one message without tools, at the standard price, without a stream.
        output_usd: the dollars of its output.
        output: the tokens of its output.
        sums: where to count it.
        is_cut_off: whether `max_tokens` ended the answer.
    """
    sums[_UNSTREAMED] += unstreamed_usd
    if is_cut_off:
        sums[s.CUT_OFF] += output_usd
    elif output:
        if output > _SHORTEST:
            sums[s.OVERLONG] += output_usd * _overlong(output, sums[_ANSWERS], sums[_LOGS])
        sums[_ANSWERS] += 1.0
        sums[_LOGS] += _log(output)


def _overlong(output: int, count: float, logs: float) -> float:
    """The part of an answer that is beyond 8 times the usual length."""
    return max(0.0, 1 - max(_SHORTEST, _TIMES * math.exp(logs / count)) / output) if count >= _FEWEST_ANSWERS else 0.0


def is_somewhere(call: Call) -> bool:
    """Whether a call ran in a region that has, or may have, prices of its own."""
    return call.regional or call.inference_geo in SOMEWHERE


def write_rare(call: Call, bill: Bill, book: PriceBook, sums: Sums) -> None:
    """Count what few priced calls pay for: a region, a long prompt."""
    cost = bill.costs[0]
    if cost is not None and is_somewhere(call):
        sums[s.REGION] += sum(cost) * _premium(call, book)
    sums[s.LONG_PROMPT] += _above_the_cliff(call, bill, book)


def _above_the_cliff(call: Call, bill: Bill, book: PriceBook) -> float:
    """Dollars that a call cost more because its prompt is above the limit of a model that has one."""
    cost, inference = bill.costs[0], call.inferences[0]
    card = book.card(inference.model, call)
    if cost is None or card is None or card.long_rates is None or inference.tokens.prompt <= card.long_above_tokens:
        return 0.0
    return max(0.0, sum(cost) - _at_short_rates(card, inference))


def _at_short_rates(card: Card, inference: Inference) -> float:
    rates, tokens = card.rates, inference.tokens
    return (
        tokens.input * rates.input
        + tokens.cache_read * rates.cache_read
        + tokens.cache_write_5m * rates.cache_write_5m
        + tokens.cache_write_1h * rates.cache_write_1h
        + tokens.output * rates.output
    )


def _premium(call: Call, book: PriceBook) -> float:
    """The part of the dollars that is paid for the place where the call ran."""
    served = call.inferences[0].model
    anywhere = Call("", tier=call.tier, started_at=call.started_at)
    card, elsewhere = book.card(served, call), book.card(bare_name(served), anywhere)
    return 0.0 if card is None or elsewhere is None else 1 - elsewhere.rates.output / card.rates.output
