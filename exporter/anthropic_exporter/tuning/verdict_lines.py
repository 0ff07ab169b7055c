"""Changes single verdicts in the text of their file: comments and other lines stay where they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anthropic_exporter.tuning import yaml_nodes


class VerdictLine(NamedTuple):
    """A verdict as it is to be written: its place in the order, its line, and whether the file has another one."""

    order: tuple[str, str]
    line: str
    is_changed: bool


def rewritten(text: str, entries: Mapping[str, VerdictLine]) -> str | None:
    """The text with these entries by id; None if the file has none yet, or is written in another way."""
    found = yaml_nodes.value(yaml_nodes.root(text), "verdicts")
    listed = yaml_nodes.items(found)
    if not listed or found.flow_style:
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * found.start_mark.column
    head = at = yaml_nodes.line_end(text, text.rfind("verdicts", 0, found.start_mark.index))
    parts: dict[str, tuple[tuple[str, str], str]] = {}
    for node in listed:
        end = yaml_nodes.line_end(text, yaml_nodes.end(text, node))
        first = text.rfind("\n", 0, node.start_mark.index) + 1
        name = str(getattr(yaml_nodes.value(node, "id"), "value", ""))
        entry = entries.get(name)
        if entry is not None:
            own = f"{indent}{entry.line}{newline}" if entry.is_changed else text[first:end]
            parts[name] = (entry.order, text[at:first] + own)
        at = end
    for name in entries.keys() - parts.keys():
        parts[name] = (entries[name].order, f"{indent}{entries[name].line}{newline}")
    whole = [part if part.endswith("\n") else part + newline for _, part in sorted(parts.values())]
    return text[:head] + "".join(whole) + text[at:]
