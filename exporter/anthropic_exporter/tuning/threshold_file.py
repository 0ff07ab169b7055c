"""Edits overrides in `thresholds.yml`: changes and adds lines, and keeps everything else, including comments."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bounded_files, yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import series

_EXPRESSION = re.compile(r"""^(?P<before>.*?\bexpr:\s*)(?:"[^"]*"|'[^']*'|[^#\n]*?)(?P<after>\s*(?:#.*)?)$""")


_MOST_BYTES = 4_194_304


class Override(NamedTuple):
    """One threshold of one feature and model; both empty is the default."""

    threshold: str
    feature: str
    model: str
    value: float

    @property
    def key(self) -> tuple[str, str, str]:
        """The key that identifies an override."""
        return self.threshold, self.feature, self.model


def edited(path: Path, overrides: Iterable[Override]) -> str:
    """The text of a file of thresholds with the overrides in it.

    Raises:
        ConfigurationError: the file cannot be read, or has no default for one of the thresholds.
    """
    lines = _text(path).splitlines()
    rules = {_key(rule): rule for rule in _rules(path)}
    added: dict[int, list[str]] = {}
    for override in overrides:
        if override.key in rules:
            number = rules[override.key].lines["expr"]
            lines[number - 1] = _replaced(path, number, lines[number - 1], override.value)
            continue
        default = rules.get((override.threshold, "", ""))
        if default is None:
            raise ConfigurationError(f"{path}: there is no default for {override.threshold}")
        first = lines[default.line - 1]
        indent = first[: len(first) - len(first.lstrip())]
        added.setdefault(max(default.lines.values()), []).extend(_rule(indent, override))
    whole = [part for number, line in enumerate(lines, start=1) for part in (line, *added.get(number, ()))]
    return "\n".join(whole) + "\n"


def _replaced(path: Path, number: int, line: str, value: float) -> str:
    found = _EXPRESSION.match(line)
    if found is None:
        raise ConfigurationError(f"{path}:{number}: the value must be on the same line as `expr:`")
    return f'{found["before"]}"{value:g}"{found["after"]}'


def difference(path: Path, text: str) -> str:
    """Return the changes as a unified diff."""
    name = str(path)
    return "".join(
        difflib.unified_diff(_text(path).splitlines(keepends=True), text.splitlines(keepends=True), name, name)
    )


def write(path: Path, text: str) -> None:
    """Write the file completely, or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _text(path: Path) -> str:
    return bounded_files.read_text(path, _MOST_BYTES)


def _rule(indent: str, override: Override) -> list[str]:
    labels = {"threshold": override.threshold, "feature": override.feature, "model": override.model}
    written = ", ".join(f"{name}: {_scalar(value)}" for name, value in labels.items() if value)
    return [
        f"{indent}- record: {series.THRESHOLD}",
        f'{indent}  expr: "{override.value:g}"',
        f"{indent}  labels: {{{written}}}",
    ]


def _scalar(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z][\w-]*", value) and value.lower() not in _WORDS else json.dumps(value)


#: Texts that YAML would not read as strings.
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def _rules(path: Path) -> list[Any]:
    return [
        rule
        for group in _list(yaml_with_lines.load(path), "groups")
        for rule in _list(group, "rules")
        if isinstance(rule, yaml_with_lines.Mapping) and rule.get("record") == series.THRESHOLD
    ]


def _list(mapping: Any, key: str) -> list[Any]:
    """A list of a mapping; empty for what is none, which `anthropic-exporter check` reports."""
    found = mapping.get(key) if isinstance(mapping, yaml_with_lines.Mapping) else None
    return found if isinstance(found, list) else []


def _key(rule: Any) -> tuple[str, str, str]:
    labels = rule.get("labels")
    labels = labels if isinstance(labels, yaml_with_lines.Mapping) else {}
    return str(labels.get("threshold", "")), str(labels.get("feature", "")), str(labels.get("model", ""))
