"""Writes recording rules into the expressions that read them, as MetricsQL's WITH templates.

vmalert writes results asynchronously, so a rule that reads another rule's result in the same evaluation finds an older
one, or none. A result with a range or an offset is of the past anyway, and is read as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from textwrap import indent
from typing import NamedTuple

_REFERENCE = re.compile(r"\b(?P<name>[a-z_]\w*:[\w:]+)(?P<matchers>\{[^}]*\})?(?P<past>\[|\s+offset\b|\s+@)?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')


class Read(NamedTuple):
    """One place where an expression reads a recorded series; `past` is a range, an offset or a moment."""

    name: str
    matchers: str
    past: bool


def reads(expression: str) -> list[Read]:
    """Every recorded series that an expression reads."""
    return [Read(found["name"], found["matchers"] or "", bool(found["past"])) for found in _found(expression)]


def inline(expression: str, definitions: Mapping[str, str], recent: Callable[[str], str | None]) -> str:
    """The expression with its definitions before it.

    Args:
        expression: of a rule.
        definitions: expressions by record, each after those that it reads.
        recent: the range in which a record that is not among them is read, such as `25s`; None leaves it as it is.
    """

    def replaced(text: str) -> str:
        return _REFERENCE.sub(lambda found: _replacement(found, definitions, recent), text)

    needed = _needed(expression, definitions)
    written = [
        f"{_variable(name)} = (\n{indent(replaced(text).strip(), '    ')}\n  )"
        for name, text in definitions.items()
        if name in needed
    ]
    body = replaced(expression)
    return "WITH (\n  " + ",\n  ".join(written) + "\n)\n" + body if written else body


def _found(expression: str) -> Iterable[re.Match[str]]:
    return _REFERENCE.finditer(expression)


def _needed(expression: str, definitions: Mapping[str, str]) -> set[str]:
    now = {read.name for read in reads(expression) if not read.past and read.name in definitions}
    return now.union(*(_needed(definitions[name], definitions) for name in now))


def _replacement(found: re.Match[str], definitions: Mapping[str, str], recent: Callable[[str], str | None]) -> str:
    if found["past"]:
        return found[0]
    if found["name"] in definitions:
        return _matched(_variable(found["name"]), found["matchers"] or "")
    window = recent(found["name"])
    return f"last_over_time({found[0]}[{window}])" if window else found[0]


def _matched(variable: str, matchers: str) -> str:
    """A template cannot have matchers, so functions restrict its result."""
    for one in _MATCHER.finditer(matchers):
        value = one["value"] if "~" in one["operator"] else re.escape(one["value"])
        function = "label_mismatch" if one["operator"].startswith("!") else "label_match"
        variable = f'{function}({variable}, "{one["label"]}", "{value}")'
    return variable


def _variable(name: str) -> str:
    return name.replace(":", "_")
