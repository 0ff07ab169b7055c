"""Where the parts of a YAML text stand, for files that people write and programs edit.

PyYAML's types leave out what its nodes have, so nodes are `Any` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def root(text: str) -> Any:
    """The root of a text that can be parsed; positions of its nodes are characters."""
    import yaml  # noqa: PLC0415 - as in yaml_with_lines

    return yaml.compose(text, Loader=yaml.SafeLoader)  # the loader in Python knows each position


def items(node: Any) -> Sequence[Any]:
    """The items of a list; none of any other node."""
    found: Sequence[Any] = node.value if node is not None and node.id == "sequence" else ()
    return found


def value(node: Any, name: str) -> Any:
    """The node of a key; None if the node is not a mapping that has it."""
    pairs = node.value if node is not None and node.id == "mapping" else ()
    return next((value for key, value in pairs if key.value == name), None)


def end(text: str, node: Any) -> int:
    """Where the last character of a node ends; its own mark of a block is where the next node begins."""
    if getattr(node, "flow_style", None) or not node.value or isinstance(node.value, str):
        start: int = node.start_mark.index
        return start + len(text[start : node.end_mark.index].rstrip())
    last = node.value[-1]
    return end(text, last[1] if isinstance(last, tuple) else last)


def line_end(text: str, at: int) -> int:
    """Where the line of a position ends, its line break included."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1
