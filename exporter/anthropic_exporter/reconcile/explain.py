"""Describes each verdict in words: the finding, and what to do. Pure."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from anthropic_exporter.reconcile import compare
from anthropic_exporter.reconcile.compare import BillVerdict
from anthropic_exporter.reconcile.lines import HOUR


class Explanation(NamedTuple):
    """A short heading, the finding, and what to do about it."""

    heading: str
    found: str
    action: str


_HEADINGS = {
    compare.AGREES: "agrees",
    compare.PRICE_BOOK: "another price",
    compare.OTHER_CALLERS: "other callers",
    compare.COVERAGE: "calls not recorded",
    compare.BATCHES_IN_FLIGHT: "batches in flight",
    compare.BILLED_ELSEWHERE: "billed elsewhere",
    compare.BILL_INCOMPLETE: "bill not complete yet",
}
_ACTIONS = {
    compare.AGREES: "",
    compare.PRICE_BOOK: "Compare the rows of this model with the published prices. Correct them in your own price "
    "file: Recorder(prices=...).",
    compare.OTHER_CALLERS: "Record these callers too, or exclude them with --workspace, --api-key-id or --product.",
    compare.COVERAGE: "Look for processes that call this model without a recorder, or that are neither scraped nor "
    "collected, and for alerts AnthropicExporterDown in these hours.",
    compare.BATCHES_IN_FLIGHT: "Nothing: they are recorded when their results are read. Compare again tomorrow.",
    compare.BILLED_ELSEWHERE: "These tokens are not on this bill: calls through Bedrock, Google Cloud or Foundry, with "
    "a key of another organization or workspace, or recorded twice.",
    compare.BILL_INCOMPLETE: "Nothing: compare again later, or set an earlier --until.",
}


def explain(verdict: BillVerdict) -> Explanation:
    """A verdict in words."""
    return Explanation(_HEADINGS[verdict.cause], _found(verdict), _ACTIONS[verdict.cause])


def _found(verdict: BillVerdict) -> str:
    if verdict.cause == compare.AGREES:
        return "Tokens and dollars agree."
    if verdict.cause == compare.PRICE_BOOK:
        return f"Dollars per token differ: {'; '.join(_rates(verdict))}."
    missing = verdict.billed.tokens - verdict.recorded.tokens
    if missing <= 0:
        return f"{-missing:,.0f} recorded tokens are not on the bill{_kinds(verdict)}."
    return f"{missing:,.0f} tokens were billed and not recorded{_kinds(verdict)}{_who(verdict)}{_hours(verdict)}."


def _rates(verdict: BillVerdict) -> list[str]:
    return [
        f"{kind} {ours:.4g} USD a million recorded, {theirs:.4g} USD billed"
        for kind, (ours, theirs) in verdict.rates.items()
    ]


def _kinds(verdict: BillVerdict) -> str:
    return f" ({', '.join(verdict.types)})"


def _who(verdict: BillVerdict) -> str:
    names = ", ".join(map(str, verdict.callers))
    return f". They are exactly those of {names}" if names else ""


def _hours(verdict: BillVerdict) -> str:
    if verdict.hours is None:
        return ""
    first, last = (dt.datetime.fromtimestamp(at, dt.timezone.utc) for at in (verdict.hours[0], verdict.hours[1] + HOUR))
    return f", nearly all of them between {first:%a %d %b %H:%M} and {last:%a %d %b %H:%M} UTC"
