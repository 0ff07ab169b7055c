"""Reads model ids: the model, where it runs, how fast. Gateways and cloud platforms spell one model in many ways.

Sources, read 2026-11-30: platform.claude.com/docs, Claude on Amazon Bedrock, on Vertex AI and in Microsoft Foundry;
Amazon Bedrock user guide, *inference profiles*; the model lists of LiteLLM 1.110 and OpenRouter for the spellings of
gateways.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple
from urllib.parse import unquote

#: The label of an id that does not name its model, such as an application inference profile of Bedrock.
OPAQUE_LABEL = "inference-profile"
GLOBAL, REGIONAL, US_GOV = "global", "regional", "us_gov"
_MOST_CHARS = 512
_FAMILY = "(?:opus|sonnet|haiku|fable|mythos)"

_GOOGLE = re.compile(r"(?:.*/)?locations/([^/]+)/publishers/")
_BEDROCK = re.compile(r"(?:([a-z][a-z-]*)\.)?anthropic\.(?=claude)")
# us.claude-…: some gateways leave out whose model it is
_GEOGRAPHY = re.compile(r"(us|eu|apac|jp|au|ca|sa|global|us-gov)\.(?=claude)")
# bedrock/us-gov-west-1/anthropic.claude-…: the region stands before the id
_GOV_REGION = re.compile(r"(?:^|/)us-gov-[a-z]+-\d/")
# anthropic/claude-…, vertex_ai/…, bedrock/converse/…, publishers/anthropic/models/…, anthropic:claude-…,
# gateway/anthropic:claude-…
_GATEWAY = re.compile(r"(?:.*/)?(?:[a-z0-9_-]+:)?(?=(?:[a-z-]+\.)?(?:anthropic\.|anthropic--)?(?:databricks-)?claude)")
# -v1:0, -v1:0:200k, @20260205, @default, :beta, :thinking, [1m], -latest, -thinking
_SUFFIX = re.compile(r"(?:-v\d+(?::[a-z0-9]+)*|@[a-z0-9]+|:[a-z0-9-]+|\[[a-z0-9]+\]|-latest|-thinking)$")
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")
_VERSION_FIRST = re.compile(rf"^claude-([4-9](?:-\d)?)-({_FAMILY})(?=-|$)")
# claude-opus-4-0, an alias of claude-opus-4-20250514
_VERSION_0 = re.compile(rf"^(claude-{_FAMILY}-\d)-0$")
_FAST = re.compile(rf"^(claude-{_FAMILY}-[0-9-]*\d)-fast(-20\d{{6}})?$")
# Account numbers, ARNs, projects, UUIDs, and words that a machine made: 20 letters and digits mixed, such as a ULID.
_OPAQUE_PART = re.compile(
    r"\d{12}|(?:^|/)arn:|(?:^|/)projects/|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<![a-z0-9])(?=[a-z]*(?:\d[a-z]*){3})(?=\d*[a-z])[a-z0-9]{20,}(?![a-z0-9])"
)
# The id of an application inference profile without its ARN.
_BARE_PROFILE = re.compile(r"(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{12}")


class ModelId(NamedTuple):
    """The meaning of an id.

    Attributes:
        bare: the first-party id, a date kept; the id itself where it is no Claude model's; empty where it is opaque.
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
    text = unquote(name).strip().lower()
    if text.startswith("arn:"):
        return _of_arn(text)
    if "claude" not in text:
        return ModelId("" if _names_nothing(text) else name.strip())
    google = _GOOGLE.match(text)
    endpoint = "" if google is None else GLOBAL if google[1] == "global" else REGIONAL
    in_gov_region = _GOV_REGION.search(text)
    text = _GATEWAY.sub("", text, count=1)
    bedrock = _BEDROCK.match(text) or _GEOGRAPHY.match(text)
    if bedrock is not None:
        endpoint, text = _bedrock_endpoint("us-gov" if in_gov_region else bedrock[1] or ""), text[bedrock.end() :]
    bare = _spelled(text.removeprefix("databricks-").removeprefix("anthropic--"))
    if _OPAQUE_PART.search(bare):
        return ModelId("")
    fast = _FAST.match(bare)
    return ModelId(bare if fast is None else fast[1] + (fast[2] or ""), endpoint, fast is not None)


def _names_nothing(text: str) -> bool:
    return _OPAQUE_PART.search(text) is not None or _BARE_PROFILE.fullmatch(text) is not None


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
    while (shorter := _SUFFIX.sub("", text)) != text:
        text = shorter
    return _VERSION_0.sub(r"\1", _VERSION_FIRST.sub(r"claude-\2-\1", _DOTTED.sub("-", text)))
