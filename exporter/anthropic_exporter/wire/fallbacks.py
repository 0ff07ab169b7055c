"""Attempts of a server-side fallback: which of them are free, and which cache writes cost a read.

Sources, read 2026-11-30: the cookbook *fable_5_fallback_billing*; the types `BetaFallbackBlock` and
`BetaFallbackMessageIterationUsage` of the SDK 2.14.0; platform.claude.com/docs, *handling stop reasons*.

`usage.iterations` lists an attempt that declined before the `fallback_message` that followed it. It is free unless its
category is billed. The category stands in a content block of type `fallback`, one for each attempt that declined; where
a stream declined before its first output the block may be missing. The serving model is billed the prefix that was warm
on the model that declined at its cache-read price, although the response counts it as written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anthropic_exporter.call import Inference

#: A refusal before any output is billed only in these categories (handling stop reasons, read 2026-11-21).
BILLED_REFUSALS = frozenset({"bio", "frontier_llm", "reasoning_extraction"})
#: The key of a folded stream under which its `fallback` blocks are kept; a JSON body has them in its content.
FALLBACK_BLOCKS = "fallback_blocks"
_FALLBACK = "fallback_message"


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
    hops = [
        index
        for index, (kind, before, after) in enumerate(zip(kinds[1:], inferences, inferences[1:], strict=False))
        if kind == _FALLBACK and before.model != after.model
    ]
    found = list(inferences)
    warm = 0
    for index, category in zip(hops, _categories(message, [inferences[hop].model for hop in hops]), strict=True):
        hop, served = inferences[index], inferences[index + 1]
        found[index] = _hop(found[index], category)
        warm = max(warm, hop.tokens.cache_read)
        written = served.tokens.cache_write_5m + served.tokens.cache_write_1h
        found[index + 1] = found[index + 1]._replace(rewritten=min(warm, written))
    if last_is_free:
        found[-1] = found[-1]._replace(billable=False)
    return tuple(found)


def _hop(inference: Inference, category: str | None) -> Inference:
    """An attempt that declined. What it had generated before is billed as any output."""
    if inference.tokens.output > 1 or category in BILLED_REFUSALS:
        return inference
    return inference._replace(billable=False, certain=category is not None)


def _categories(message: Mapping[str, Any], models: Sequence[str]) -> list[str | None]:
    """The category of each attempt that declined, empty where there is none; None where nothing says."""
    content = message.get(FALLBACK_BLOCKS) or message.get("content")
    blocks = [block for block in content if _is_fallback(block)] if isinstance(content, list) else []
    if len(blocks) == len(models):
        return [_category(block) for block in blocks]
    by_model = {_model(block): _category(block) for block in blocks}
    return [by_model.get(model) for model in models]


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
