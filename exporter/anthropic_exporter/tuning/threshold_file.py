"""Edits overrides in `thresholds.yml`: changes and adds rules, and keeps everything else as it is written.

Comments, quotes, line ends and the style of the file (a line for each key, or braces) stay. What was written is read
back before it replaces the file, so that no file is left that Prometheus would refuse.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bounded_files, yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import series
from anthropic_exporter.tuning import yaml_nodes

Key = tuple[str, str, str]


class Override(NamedTuple):
    """One threshold of one feature and model; both empty is the default."""

    threshold: str
    feature: str
    model: str
    value: float

    @property
    def key(self) -> Key:
        """The key that identifies an override."""
        return self.threshold, self.feature, self.model

    @property
    def written(self) -> str:
        """Its value as in the file, without an exponent."""
        return f"{self.value:.12g}"

    @property
    def labels(self) -> str:
        """Its labels as YAML."""
        labels = {"threshold": self.threshold, "feature": self.feature, "model": self.model}
        return ", ".join(f"{name}: {_scalar(value)}" for name, value in labels.items() if value)


class _Rule(NamedTuple):
    """The position of a rule in the text: its expression, its end, and the list that contains it."""

    expression: Any  # a node of PyYAML, whose types leave out what nodes have
    end: int
    indent: str
    is_in_braces: bool


class _Change(NamedTuple):
    """A part of the text, from `start` to `end`, and what replaces it."""

    start: int
    end: int
    text: str


def edited(path: Path, overrides: Iterable[Override]) -> str:
    """The text of a file of thresholds with the overrides in it.

    Raises:
        ConfigurationError: the file cannot be read, has no default for one of the thresholds, or is written in a way
            that cannot be edited.
    """
    wanted = list(overrides)
    before = _values(yaml_with_lines.load(path))
    text = _text(path)
    rules = _rules(text)
    for override in wanted:
        if (override.threshold, "", "") not in rules and override.key not in rules:
            raise ConfigurationError(f"{path}: there is no default for {override.threshold}")
    changes = [change for override in wanted for change in _changes(text, rules, override)]
    for change in sorted(changes, key=lambda one: one.start, reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    expected = before | {one.key: one.written for one in wanted}
    if _values(_parsed(text)) != expected:
        raise ConfigurationError(f"{path}: cannot be edited in this form: write a separate rule for each threshold")
    return text


def _changes(text: str, rules: Mapping[Key, Sequence[_Rule]], override: Override) -> Iterator[_Change]:
    if override.key in rules:
        for rule in rules[override.key]:
            start, end = rule.expression.start_mark.index, yaml_nodes.end(text, rule.expression)
            yield _Change(start, end, f'"{override.written}"')
        return
    default = rules[override.threshold, "", ""][-1]
    if default.is_in_braces:
        added = f'{{record: {series.THRESHOLD}, expr: "{override.written}", labels: {{{override.labels}}}}}'
        yield _Change(default.end, default.end, f", {added}")
        return
    at = yaml_nodes.line_end(text, default.end)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [
        f"{default.indent}- record: {series.THRESHOLD}",
        f'{default.indent}  expr: "{override.written}"',
        f"{default.indent}  labels: {{{override.labels}}}",
    ]
    whole = newline.join(lines) + newline
    yield _Change(at, at, whole if text[:at].endswith("\n") else newline + whole)


def _rules(text: str) -> dict[Key, list[_Rule]]:
    """The rules of thresholds by key, in the order of the text."""
    found: dict[Key, list[_Rule]] = {}
    root = yaml_nodes.root(text)
    for rules in (yaml_nodes.value(group, "rules") for group in yaml_nodes.items(yaml_nodes.value(root, "groups"))):
        for node in yaml_nodes.items(rules):
            expression, record = yaml_nodes.value(node, "expr"), yaml_nodes.value(node, "record")
            if rules is not None and expression is not None and record and record.value == series.THRESHOLD:
                indent = " " * rules.start_mark.column
                rule = _Rule(expression, yaml_nodes.end(text, node), indent, bool(rules.flow_style))
                found.setdefault(_key_of(yaml_nodes.value(node, "labels")), []).append(rule)
    return found


def _key_of(labels: Any) -> Key:
    words = (yaml_nodes.value(labels, name) for name in ("threshold", "feature", "model"))
    threshold, feature, model = ("" if one is None else str(one.value) for one in words)
    return threshold, feature, model


def _values(root: Any) -> dict[Key, str]:
    """What each rule of a threshold is set to. What is not a rule is for `anthropic-exporter check` to report."""
    found = {}
    for rule in (rule for group in _list(root, "groups") for rule in _list(group, "rules")):
        if isinstance(rule, dict) and rule.get("record") == series.THRESHOLD:
            labels = rule.get("labels")
            labels = labels if isinstance(labels, dict) else {}
            key = (str(labels.get("threshold", "")), str(labels.get("feature", "")), str(labels.get("model", "")))
            found[key] = str(rule.get("expr")).strip()
    return found


def _list(mapping: Any, key: str) -> list[Any]:
    found = mapping.get(key) if isinstance(mapping, dict) else None
    return found if isinstance(found, list) else []


def _parsed(text: str) -> Any:
    import yaml  # noqa: PLC0415 - as in yaml_with_lines

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return {}


def difference(path: Path, text: str) -> str:
    """Return the changes as a unified diff."""
    name = str(path)
    return "".join(
        difflib.unified_diff(_text(path).splitlines(keepends=True), text.splitlines(keepends=True), name, name)
    )


def _text(path: Path) -> str:
    return bounded_files.read_text(path, yaml_with_lines.MOST_YAML_BYTES)


def _scalar(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z][\w-]*", value) and value.lower() not in _WORDS else json.dumps(value)


#: Texts that YAML would not read as strings.
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
