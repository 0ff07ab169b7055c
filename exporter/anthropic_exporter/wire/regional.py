"""Reads from a request's path whether it went to a regional endpoint."""

from __future__ import annotations

from urllib.parse import unquote

_FIRST_PARTY = b"/v1/messages"


def is_regional(path: bytes) -> bool:
    """Whether a request went to a regional endpoint of Bedrock or Google Cloud, which costs 10 % more.

    On Google Cloud the location stands in the path; every location but `global` is regional, `us` and `eu` too. On
    Bedrock the model does; every id but `global.anthropic.*` is regional. Paths that name neither (the API itself,
    Foundry, Claude Platform on AWS, the Messages endpoint of Bedrock) are taken as not regional.

    Source: platform.claude.com/docs, Claude on Amazon Bedrock and Claude on Vertex AI, global versus regional
    endpoints, read 2026-11-21.

    Args:
        path: the path of the request's URL as sent, percent-encoded, without its query.
    """
    if path.endswith(_FIRST_PARTY):
        return False
    parts = [unquote(part) for part in path.decode("latin-1").split("/")]
    if "locations" in parts[:-1] and "publishers" in parts:
        return parts[parts.index("locations") + 1] != "global"
    if "model" in parts[:-1] and parts[-1].startswith("invoke"):
        model = parts[parts.index("model") + 1].rpartition("/")[2]
        return "anthropic." in model and not model.startswith("global.")
    return False
