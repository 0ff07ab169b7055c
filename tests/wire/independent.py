"""Prices the corpus a second time, with nothing of the library: exact fractions straight from the published list.

    python tests/wire/independent.py tests/wire/cases/usage/five-token-types.yml

prints the lines of /metrics that hold tokens and dollars of a case, from what its `billed` says.

Dollars per million tokens, multipliers and minimum cacheable tokens: platform.claude.com/docs, pages *pricing* and
*prompt caching*, read 2026-11-21; the two 5.2 models: genai-prices 0.2.3, read the same day.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

PARTS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")

#: model: dollars per million of input, 5 minute write, 1 hour write, read, output.
LIST = {
    "claude-fable-5-2": "8 10 16 0.20 40",
    "claude-mythos-5-2": "8 10 16 0.20 40",
    "claude-fable-5-1": "10 12.5 20 0.25 50",
    "claude-mythos-5-1": "10 12.5 20 0.25 50",
    "claude-fable-5": "10 12.5 20 1.00 50",
    "claude-mythos-5": "10 12.5 20 1.00 50",
    "claude-opus-5-5": "4 5 8 0.20 20",
    "claude-opus-5": "5 6.25 10 0.50 25",
    "claude-opus-4-8": "5 6.25 10 0.50 25",
    "claude-opus-4-7": "5 6.25 10 0.50 25",
    "claude-opus-4-6": "5 6.25 10 0.50 25",
    "claude-opus-4-5": "5 6.25 10 0.50 25",
    "claude-opus-4-1": "15 18.75 30 1.50 75",
    "claude-opus-4": "15 18.75 30 1.50 75",
    "claude-sonnet-5-5": "2 2.5 4 0.10 10",
    "claude-sonnet-5": "2 2.5 4 0.20 10",
    "claude-sonnet-4-6": "3 3.75 6 0.30 15",
    "claude-sonnet-4-5": "3 3.75 6 0.30 15",
    "claude-haiku-5-5": "0.10 0.125 0.20 0.01 0.50",
    "claude-haiku-4-5": "1 1.25 2 0.10 5",
}
#: Sonnet 5.5 cost more to read until 2026-10-07; Haiku 5.5 costs more above 100,000 prompt tokens.
SONNET_5_5_READ_BEFORE = "2 2.5 4 0.20 10"
HAIKU_5_5_LONG = "0.50 0.625 1.00 0.05 2.50"
#: Fast mode doubles, on these alone; on Opus 4.8 until 2026-11-30.
FAST = {"claude-fable-5-2", "claude-mythos-5-2", "claude-opus-5-5", "claude-opus-5", "claude-opus-4-8"}
#: US inference costs 1.1 x from Claude 4.6 on: not on these.
NO_GEO = {"claude-opus-4-5", "claude-opus-4-1", "claude-opus-4", "claude-sonnet-4-5", "claude-haiku-4-5"}
PRICED_TIERS = {"standard", "batch", "priority", "fast"}
WEB_SEARCH_USD = Fraction("0.01")


def row(model: str, billed: dict[str, Any], at: dt.datetime) -> str:
    """The prices that hold for one inference."""
    if model == "claude-sonnet-5-5" and at.date() < dt.date(2026, 10, 7):
        return SONNET_5_5_READ_BEFORE
    if model == "claude-haiku-5-5" and sum(billed.get(part, 0) for part in PARTS[:4]) > 100_000:
        return HAIKU_5_5_LONG
    return LIST[model]


def factor(model: str, billed: dict[str, Any]) -> Fraction:
    """What multiplies every price of the row."""
    found = {"fast": Fraction(2), "batch": Fraction(1, 2)}.get(billed.get("tier", ""), Fraction(1))
    if billed.get("geo") == "us" and model not in NO_GEO:
        found *= Fraction(11, 10)
    if billed.get("us_gov"):
        return found * Fraction(12, 10)
    return found * Fraction(11, 10) if billed.get("regional") else found


def rates(billed: dict[str, Any], at: dt.datetime) -> dict[str, Fraction] | None:
    """Dollars per token by part; None where there is no price."""
    model = billed.get("priced_as", billed["model"])
    removed = model == "claude-opus-4-8" and at.date() >= dt.date(2026, 11, 30)
    tier = billed.get("tier", "standard")
    if model not in LIST or tier not in PRICED_TIERS or (tier == "fast" and (model not in FAST or removed)):
        return None
    each = factor(model, billed) / 1_000_000
    return {part: Fraction(usd) * each for part, usd in zip(PARTS, row(model, billed, at).split(), strict=True)}


Samples = dict[tuple[str, frozenset[tuple[str, str]]], Fraction]


def add(found: Samples, name: str, value: Fraction, labels: dict[str, str]) -> None:
    """Add to a sample, unless it is nothing."""
    if value:
        found[name, frozenset(labels.items())] += value


def lines(case: dict[str, Any]) -> Samples:
    """Every sample of tokens and dollars that is not 0, by name and labels."""
    found: Samples = defaultdict(Fraction)
    for billed in case["billed"]:
        spend = {"model": billed["model"], "tier": billed.get("tier", "standard"), **case.get("attribution", {})}
        tokens = {part: Fraction(billed.get(part, 0)) for part in PARTS}
        for part, count in tokens.items():
            add(found, "anthropic_tokens_total", count, {"type": part, **spend})
        searches = billed.get("web_search", 0) * WEB_SEARCH_USD
        add(found, "anthropic_cost_usd_total", searches, {"type": "web_search", **spend})
        usd = rates(billed, case["at"])
        if usd is None:
            add(found, "anthropic_exporter_unpriced_tokens_total", sum(tokens.values()), {"model": billed["model"]})  # type: ignore[arg-type]
        elif billed.get("uncertain"):
            whole = sum(count * usd[part] for part, count in tokens.items())
            labels = {"model": case["served"], "reason": "fallback_hop"}
            add(found, "anthropic_exporter_estimated_cost_usd_total", whole, labels)  # type: ignore[arg-type]
        elif not billed.get("free"):
            for part, count in tokens.items():
                rewritten = billed.get("rewritten", 0) if part == "cache_write_5m" else 0
                dollars = (count - rewritten) * usd[part] + rewritten * usd["cache_read"]
                add(found, "anthropic_cost_usd_total", dollars, {"type": part, **spend})
            rewritten = billed.get("rewritten", 0)
            tokens["cache_read"], tokens["cache_write_5m"] = (
                tokens["cache_read"] + rewritten,
                tokens["cache_write_5m"] - rewritten,
            )
            economics(found, case, tokens, usd)
    return dict(found)


def economics(found: Samples, case: dict[str, Any], tokens: dict[str, Fraction], usd: dict[str, Fraction]) -> None:
    """What the cache cost and saved, and dollars that may be less on the bill, by the model of the response."""
    where = case.get("attribution", {})
    call = {"model": case["served"], **({"feature": where["feature"]} if "feature" in where else {})}
    written = sum(tokens[part] * (usd[part] - usd["input"]) for part in ("cache_write_5m", "cache_write_1h"))
    add(found, "anthropic_cache_write_premium_usd_total", written, call)  # type: ignore[arg-type]
    saved = tokens["cache_read"] * (usd["input"] - usd["cache_read"])
    add(found, "anthropic_cache_savings_usd_total", saved, call)
    if case["cache"] == "miss":
        lost = sum(tokens[part] * (usd[part] - usd["cache_read"]) for part in PARTS[:3])
        add(found, "anthropic_cache_miss_cost_usd_total", lost, call)  # type: ignore[arg-type]
    if "estimate" in case:
        uncertain = doubtful(case["estimate"], tokens, usd)
        add(found, "anthropic_exporter_estimated_cost_usd_total", uncertain, {**call, "reason": case["estimate"]})


def doubtful(reason: str, tokens: dict[str, Fraction], usd: dict[str, Fraction]) -> Fraction:
    """The dollars of an inference that the invoice may differ by."""
    if reason == "fallback_credit":
        return sum(tokens[part] * (usd[part] - usd["cache_read"]) for part in ("cache_write_5m", "cache_write_1h"))  # type: ignore[return-value]
    whole = sum(tokens[part] * usd[part] for part in PARTS)
    return whole / 10 if reason == "inference_profile" else whole  # type: ignore[return-value]


def decimal(value: Fraction) -> Decimal:
    """The same number written out; all prices end after few decimals, so nothing is rounded."""
    written = Decimal(value.numerator) / Decimal(value.denominator)
    assert Fraction(written) == value, value
    return written


def main(path: Path) -> None:
    """Print the lines of one case."""
    case = with_defaults(yaml.safe_load(path.read_text()))
    for (name, labels), value in sorted(lines(case).items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
        inside = ",".join(f'{key}="{word}"' for key, word in sorted(labels))
        print(f"{name}{{{inside}}} {decimal(value):f}")  # noqa: T201 - what the script is for


def with_defaults(case: dict[str, Any]) -> dict[str, Any]:
    """What a case that does not say otherwise means."""
    billed = case.setdefault("billed", [])
    case.setdefault("served", billed[0]["model"] if billed else "")
    case.setdefault("cache", "unasked")
    case.setdefault("at", dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc))
    return case


if __name__ == "__main__":
    main(Path(sys.argv[1]))
