"""Makes rule files from templates, blocks and settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Protocol

from anthropic_exporter import bundle
from anthropic_exporter.rules import questions, templates
from anthropic_exporter.rules.keeping import keep
from anthropic_exporter.rules.links import panel_of
from anthropic_exporter.rules.settings import Fit

_BLOCK = re.compile(
    r"^(?P<begin>(?P<indent> *)# begin generated: (?P<name>[\w-]+)\n)(?P<end> *# end generated\n)", re.MULTILINE
)
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class Shape(Protocol):
    """One or more recording rules that a template has in a block."""

    def rule(self) -> str:
        """The rules as YAML."""


def generate(fit: Fit) -> dict[str, str]:
    """The text of each rule file but the thresholds', by file name.

    Raises:
        ConfigurationError: the dashboard, whose panels the links open, is missing.
    """
    ids = panel_ids()
    kept = [question for question in templates.QUESTIONS if question not in fit.without]
    return {f"{question}.yml": rule_file(question, fit, ids) for question in kept}


def panel_ids() -> dict[str, int]:
    """Id of each panel of the shipped dashboard, by title."""
    dashboard = bundle.path("grafana") / "dashboards" / "claude-cost.json"
    return {panel["title"]: panel["id"] for panel in json.loads(dashboard.read_text(encoding="utf-8"))["panels"]}


def rule_file(question: str, fit: Fit, ids: Mapping[str, int]) -> str:
    """The rule file of one question."""
    return render(templates.text(question), questions.BLOCKS, fit, ids)


def render(template: str, blocks: Mapping[str, Sequence[Shape]], fit: Fit, ids: Mapping[str, int]) -> str:
    """A template with its blocks, links, labels that are kept, and numbers."""
    text = _with_panels(_BLOCK.sub(lambda match: _block(match, blocks), template), ids)
    return _filled(keep(text, fit.keep_labels), fit.placeholders())


def _block(match: re.Match[str], blocks: Mapping[str, Sequence[Shape]]) -> str:
    rules = "".join(shape.rule() for shape in blocks[match["name"]])
    return match["begin"] + indent(rules, match["indent"]) + match["end"]


def _with_panels(text: str, ids: Mapping[str, int]) -> str:
    def linked(part: str) -> str:
        alert = re.match(r" *- alert: (\w+)", part)
        return part.replace("${panel}", panel_of(alert[1], ids)) if alert else part

    return "".join(map(linked, re.split(r"(?m)^(?= *- alert: )", text)))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)
