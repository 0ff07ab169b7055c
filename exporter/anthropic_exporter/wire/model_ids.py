"""Parses model ids: the model, its location and speed. Gateways and platforms spell one model in many ways.

Sources, read 2026-11-30: platform.claude.com/docs, Claude on Amazon Bedrock, on Vertex AI and in Microsoft Foundry;
Amazon Bedrock user guide, *inference profiles*; the model lists of LiteLLM 1.110 and OpenRouter for the spellings of
gateways.
"""

from __future__ import annotations

import functools
from typing import NamedTuple
from urllib.parse import unquote

#: The label of an id that does not name its model, such as an application inference profile of Bedrock.
OPAQUE_LABEL = "inference-profile"
GLOBAL, REGIONAL, US_GOV = "global", "regional", "us_gov"
_MOST_CHARS = 512


class ModelId(NamedTuple):
    """The meaning of an id.

    Attributes:
        bare: the first-party id, a date kept; the id itself where it is not a Claude model's; empty where it is opaque.
        endpoint: `global`, `regional` or `us_gov` where a platform's id says so, else empty.
        fast: the id is a deployment of fast mode, as Foundry names it.
    """

    bare: str
    endpoint: str = ""
    fast: bool = False


def identify(name: str) -> ModelId:
    """Read an id in any spelling."""
    return _identify(name if len(name) <= _MOST_CHARS else name[:_MOST_CHARS])


@functools.lru_cache(maxsize=2048)
def _identify(name: str) -> ModelId:
    from anthropic_exporter.wire import id_patterns as p  # noqa: PLC0415 - see there

    text = unquote(name).strip().lower()
    if text.startswith("arn:"):
        return _of_arn(text)
    if "claude" not in text:
        return ModelId("" if _names_nothing(text) else name.strip())
    google = p.GOOGLE.match(text)
    endpoint = "" if google is None else GLOBAL if google[1] == "global" else REGIONAL
    in_gov_region = p.GOV_REGION.search(text)
    text = p.GATEWAY.sub("", text, count=1)
    bedrock = p.BEDROCK.match(text) or p.GEOGRAPHY.match(text)
    if bedrock is not None:
        endpoint, text = _bedrock_endpoint("us-gov" if in_gov_region else bedrock[1] or ""), text[bedrock.end() :]
    bare = _spelled(text.removeprefix("databricks-").removeprefix("anthropic--"))
    if p.OPAQUE_PART.search(bare):
        return ModelId("")
    fast = p.FAST.match(bare)
    return ModelId(bare if fast is None else fast[1] + (fast[2] or ""), endpoint, fast is not None)


def _names_nothing(text: str) -> bool:
    from anthropic_exporter.wire import id_patterns as p  # noqa: PLC0415 - see there

    return p.OPAQUE_PART.search(text) is not None or p.BARE_PROFILE.fullmatch(text) is not None


def _of_arn(arn: str) -> ModelId:
    """System-defined profiles and foundation models name their model behind the last slash; no other ARN does."""
    found = _identify(arn.rpartition("/")[2])
    if not found.endpoint or "prompt-router/" in arn:
        return ModelId("")
    return found._replace(endpoint=US_GOV) if arn.startswith("arn:aws-us-gov:") else found


def model_label(name: str) -> str:
    """The label of a requested id before its serving model is known: its bare name."""
    return identify(name).bare or (OPAQUE_LABEL if name else "")


def served_label(name: str) -> str:
    """The label of the model that a response names: its own text, unless that contains an account or an opaque id."""
    return model_label(name) if _is_secret(name[:_MOST_CHARS]) else name


@functools.lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    return _names_nothing(unquote(name).strip().lower())


def is_opaque(name: str) -> bool:
    """Whether an id does not name its model."""
    return bool(name) and not identify(name).bare


def _bedrock_endpoint(prefix: str) -> str:
    """Every id of Bedrock but `global.anthropic.*` is regional: geographies, and one region where no prefix stands."""
    return GLOBAL if prefix == "global" else US_GOV if prefix == "us-gov" else REGIONAL


def _spelled(text: str) -> str:
    """The first-party spelling of `claude-…`."""
    from anthropic_exporter.wire import id_patterns as p  # noqa: PLC0415 - see there

    while (shorter := p.SUFFIX.sub("", text)) != text:
        text = shorter
    return p.VERSION_0.sub(r"\1", p.VERSION_FIRST.sub(r"claude-\2-\1", p.DOTTED.sub("-", text)))
