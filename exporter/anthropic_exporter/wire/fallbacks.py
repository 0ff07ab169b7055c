"""Attempts of a server-side fallback: which of them are free, and which cache writes cost a read.

Sources, read 2026-11-30: the cookbook *fable_5_fallback_billing*; the types `BetaFallbackBlock` and
`BetaFallbackMessageIterationUsage` of the SDK 2.14.0; platform.claude.com/docs, *handling stop reasons*.

`usage.iterations` lists an attempt that declined before the `fallback_message` that followed it. It is free unless its
category is billed. The category stands in a content block of type `fallback`, one for each attempt that declined; where
a stream declined before its first output the block may be missing. The serving model is billed the prefix that was warm
on the model that declined at its cache-read price, although the response counts it as written.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from anthropic_exporter.call import Inference
from anthropic_exporter.wire.model_ids import model_label

#: A refusal before any output is billed only in these categories (handling stop reasons, read 2026-11-21).
BILLED_REFUSALS = frozenset({"bio", "frontier_llm", "reasoning_extraction"})
#: The key of a folded stream under which its `fallback` blocks are kept; a JSON body has them in its content.
FALLBACK_BLOCKS = "fallback_blocks"
_FALLBACK = "fallback_message"
#: Entries of `usage.iterations` that answer the request; the others work for one of these.
_ATTEMPTS = frozenset({"message", _FALLBACK, None})


def declined_attempts(
    message: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    inferences: tuple[Inference, ...],
    *,
    last_is_free: bool,
) -> tuple[Inference, ...]:
    """The inferences, those that declined and are free marked so.

    Args:
        message: the message, for its content.
        entries: the objects in `usage.iterations`, one for each inference.
        inferences: the inferences as counted.
        last_is_free: the message is a refusal of the last model that is not billed.
    """
    kinds = [entry.get("type") for entry in entries]
    attempts = [index for index, kind in enumerate(kinds) if kind in _ATTEMPTS]
    hops = [
        (before, after)
        for before, after in itertools.pairwise(attempts)
        if kinds[after] == _FALLBACK and inferences[before].model != inferences[after].model
    ]
    found = list(inferences)
    warm = 0
    categories = _categories(message, [inferences[before].model for before, _ in hops])
    for (before, after), category in zip(hops, categories, strict=True):
        served = inferences[after].tokens
        found[before] = _hop(found[before], category)
        warm = max(warm, inferences[before].tokens.cache_read)
        found[after] = found[after]._replace(rewritten=min(warm, served.cache_write_5m + served.cache_write_1h))
    if last_is_free:
        found[-1] = found[-1]._replace(billable=False)
    return tuple(found)


def iteration_models(message: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], asked_model: str) -> list[str]:
    """The model that each entry of `usage.iterations` names; empty for the model of the message.

    An entry of type `message` need not name its model. Where a fallback follows, that is the model that declined: the
    one that the first `fallback` block names, else the one that was asked for.
    """
    names = [name if isinstance(name := entry.get("model"), str) else "" for entry in entries]
    kinds = [entry.get("type") for entry in entries]
    if _FALLBACK in kinds and not all(names):
        blocks = _fallback_blocks(message)
        declined = _model(blocks[0]) if blocks else None
        declined = declined if isinstance(declined, str) else model_label(asked_model)
        first = kinds.index(_FALLBACK)
        names[:first] = [
            name or (declined if kind == "message" else "") for name, kind in zip(names[:first], kinds, strict=False)
        ]
    return names


def _hop(inference: Inference, category: str | None) -> Inference:
    """An attempt that declined. What it had generated before is billed as any output."""
    if inference.tokens.output > 1 or category in BILLED_REFUSALS:
        return inference
    return inference._replace(billable=False, certain=category is not None)


def _categories(message: Mapping[str, Any], models: Sequence[str]) -> list[str | None]:
    """The category of each attempt that declined, empty where there is none; None where nothing says."""
    blocks = _fallback_blocks(message)
    if len(blocks) == len(models):
        return [_category(block) for block in blocks]
    by_model = {_model(block): _category(block) for block in blocks}
    return [by_model.get(model) for model in models]


def _fallback_blocks(message: Mapping[str, Any]) -> list[Any]:
    content = message.get(FALLBACK_BLOCKS) or message.get("content")
    return [block for block in content if _is_fallback(block)] if isinstance(content, list) else []


def _is_fallback(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "fallback"


def _category(block: Mapping[str, Any]) -> str | None:
    trigger = block.get("trigger")
    if not isinstance(trigger, Mapping) or trigger.get("type") != "refusal":
        return None
    category = trigger.get("category")
    return category if isinstance(category, str) else ""


def _model(block: Mapping[str, Any]) -> Any:
    declined = block.get("from")
    return declined.get("model") if isinstance(declined, Mapping) else None
