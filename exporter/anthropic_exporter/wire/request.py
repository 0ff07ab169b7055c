"""Reads what a request of the SDK asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_of(request: Any) -> str:
    """The model that the request's JSON body names; empty if it names none.

    Args:
        request: anything with the SDK's `APIRequest.json`.
    """
    body = request.json
    return model_in(body) if isinstance(body, dict) else ""


def model_in(body: Mapping[str, Any]) -> str:
    """The model that a JSON body names; empty if it names none."""
    model = body.get("model")
    return model if isinstance(model, str) else ""
