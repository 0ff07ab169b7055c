"""Reads what a request of the SDK asks for."""

from __future__ import annotations

from typing import Any


def model_of(request: Any) -> str:
    """The model that the request's JSON body names; empty if it names none.

    Args:
        request: anything with the SDK's `APIRequest.json`.
    """
    body = request.json
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""
