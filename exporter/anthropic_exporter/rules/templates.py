"""Reads the hand-written part of each rule file, in `templates/`."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

QUESTIONS = ("budget", "cache", "cost", "errors", "fleet", "latency", "ledger", "meter", "reconcile", "tokens")
_FOLDER = Path(__file__).with_name("templates")
_GUARD = re.compile(r'anthropic_threshold{threshold="(\w+)"')


@functools.cache
def text(question: str) -> str:
    """The template of a question."""
    return (_FOLDER / f"{question}.yml").read_text(encoding="utf-8")


def guards() -> set[str]:
    """Names of the thresholds that the templates read directly, without overrides."""
    return {name for question in QUESTIONS for name in _GUARD.findall(text(question))}


def condition_of(alert: str) -> str:
    """The expression of an alert."""
    return next(str(rule["expr"]) for question in QUESTIONS for rule in _rules(question) if rule.get("alert") == alert)


@functools.cache
def _rules(question: str) -> list[dict[str, Any]]:
    import yaml  # noqa: PLC0415 - costs more than everything else here

    document = yaml.safe_load(text(question))
    return [rule for group in document["groups"] for rule in group["rules"] or ()]
