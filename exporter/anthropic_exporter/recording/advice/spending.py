"""Counts dollars that a change would save: answers that can wait, are cut off or overlong; long prompts; regions."""

from __future__ import annotations

import math

from anthropic_exporter.call import Bill, Call, Inference
from anthropic_exporter.pricing.book import Card, PriceBook, bare_name
from anthropic_exporter.recording.advice import sums as s
from anthropic_exporter.recording.advice.sums import Sums

_SOMEWHERE = frozenset({"us", "us-gov"})
#: An answer is overlong beyond 8 times the usual (geometric mean) length, from 20 answers and 2,000 tokens on.
_TIMES, _FEWEST_ANSWERS, _SHORTEST = 8.0, 20, 2_000
_log = math.log
#: Read at each call: a name of this module is found faster than one of another.
_UNSTREAMED, _ANSWERS, _LOGS = s.UNSTREAMED, s.ANSWERS, s.LOGS


def write(call: Call, bill: Bill, book: PriceBook, sums: Sums, *, is_single: bool) -> None:
    """Count one priced call. `is_single`: one message without tools, answered without a stream."""
    cost = bill.costs[0]
    if cost is None:
        return
    if is_single and call.tier == "standard":
        sums[_UNSTREAMED] += cost[0] + cost[1] + cost[2] + cost[3] + cost[4]
    if call.regional or call.inference_geo in _SOMEWHERE:
        sums[s.REGION] += sum(cost) * _premium(call, book)
    if call.stop_reason == "max_tokens":
        sums[s.CUT_OFF] += cost[4]
    elif output := call.inferences[0][1][4]:
        if output > _SHORTEST:
            sums[s.OVERLONG] += cost[4] * _overlong(output, sums[_ANSWERS], sums[_LOGS])
        sums[_ANSWERS] += 1.0
        sums[_LOGS] += _log(output)


def _overlong(output: int, count: float, logs: float) -> float:
    """The part of an answer that is beyond 8 times the usual length."""
    return max(0.0, 1 - max(_SHORTEST, _TIMES * math.exp(logs / count)) / output) if count >= _FEWEST_ANSWERS else 0.0


def above_the_cliff(call: Call, bill: Bill, book: PriceBook) -> float:
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
