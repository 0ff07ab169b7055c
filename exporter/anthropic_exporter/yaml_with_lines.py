"""YAML that remembers where each mapping stood, so that a mistake can be named by file, line and key.

PyYAML is imported by the first file that is read, not by everybody who imports the library: it takes as long as all of
the library's own modules together (`bench/speed/footprint.py`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

#: The shipped thresholds take 10 kB; this much YAML takes about 0.2 s to read.
MOST_YAML_BYTES = 262_144
_MOST_PLAIN_CHARS = 1024
#: Values of a file with each alias (`*name`) counted as what it stands for; without aliases a file cannot have as many.
_MOST_VALUES = MOST_YAML_BYTES


class Mapping(dict[str, Any]):
    """A YAML mapping with `line`, where it begins, and `lines`, the line of each key; 1-based."""

    line: int = 1
    lines: dict[str, int]


@functools.cache
def _loader() -> Any:
    """The safe loader, but a mapping keeps its lines and a repeated key is a mistake."""
    import yaml  # noqa: PLC0415 - see above

    class MarkedLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    MarkedLoader.add_constructor("tag:yaml.org,2002:map", _construct)
    return MarkedLoader


def _construct(loader: Any, node: yaml.MappingNode) -> Mapping:
    import yaml  # noqa: PLC0415 - it is there by now

    mapping = Mapping()
    mapping.line, mapping.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key, line = str(loader.construct_object(key_node, deep=True)), key_node.start_mark.line + 1
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is repeated", problem_mark=key_node.start_mark)
        mapping[key] = _value(loader, key, value_node)
        mapping.lines[key] = line
    return mapping


def _value(loader: Any, key: str, node: yaml.Node) -> Any:
    """The value of a key. PyYAML lets through what a constructor raises on 2026-13-01 or on a tag that does not fit."""
    import yaml  # noqa: PLC0415 - it is there by now

    try:
        return loader.construct_object(node, deep=True)
    except yaml.YAMLError:
        raise
    except Exception as error:
        problem = f"{key}: {error}" if isinstance(error, ValueError) else f"{key}: the value cannot be read"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


def load(path: Path) -> Mapping:
    """Read a YAML file whose root is a mapping.

    Raises:
        ConfigurationError: the file cannot be read, is too large or too deep, is not YAML, or its root is not a
            mapping; names file and line.
    """
    import yaml  # noqa: PLC0415 - see above

    text = bounded_files.read_text(path, MOST_YAML_BYTES)
    try:
        _check_shape(path, text)
        root = yaml.load(text, Loader=_loader())  # noqa: S506 - derives from the safe loader
    except (yaml.YAMLError, ValueError, AttributeError) as error:  # the latter two of a root that is one scalar
        _check_conflicts(path, text)
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not YAML"
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigurationError(f"{where}: {problem}") from error
    if not isinstance(root, Mapping):
        _check_conflicts(path, text)
        raise ConfigurationError(f"{path}:1: expected a mapping of keys to values")
    return root


def _check_conflicts(path: Path, text: str) -> None:
    """Report merge conflict markers as such, because YAML's own message about them is misleading."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ", "||||||| ")):
            raise ConfigurationError(f"{path}:{number}: unresolved merge conflict: choose one side")


def _check_shape(path: Path, text: str) -> None:
    """Refuse what is cheap to write and costly to construct, from the parser's events, which need no recursion.

    Nesting: the composer calls itself and overflows the stack. Plain scalars: the resolver tries numbers and dates,
    and a sexagesimal number takes time in the square of its length. Aliases: nine lines stand for 10^9 values, which
    cost nothing until something writes them out, such as a key or the message about a wrong value.
    """
    import yaml  # noqa: PLC0415 - see above

    depth, sizes = 0, _Sizes()
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if sizes.add(event) > _MOST_VALUES:
            raise ConfigurationError(f"{path}:{_line(event)}: aliases stand for more than {_MOST_VALUES:,} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _MOST_PLAIN_CHARS and _is_resolved(event):
            raise ConfigurationError(f"{path}:{_line(event)}: a value of {len(event.value):,} characters")
        if depth > bounded_files.MOST_DEPTH:
            raise bounded_files.too_deep(path, _line(event))


class _Sizes:
    """Counts the values of a document with its aliases written out."""

    def __init__(self) -> None:
        self._anchored: dict[str | None, float] = {}
        self._open: list[tuple[str | None, float]] = [(None, 0.0)]

    def add(self, event: yaml.Event) -> float:
        """Count an event; return the size of the innermost collection so far."""
        import yaml  # noqa: PLC0415 - it is there by now

        if isinstance(event, yaml.AliasEvent):
            return self._grow(self._anchored.get(event.anchor, 0.0))
        if isinstance(event, yaml.ScalarEvent):
            return self._grow(1.0, event.anchor)
        if isinstance(event, yaml.CollectionStartEvent):
            self._anchored[event.anchor] = float("inf")  # an alias to it from inside of it never ends
            self._open.append((event.anchor, 1.0))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = self._open.pop()
            return self._grow(size, anchor)
        return 0.0

    def _grow(self, more: float, anchor: str | None = None) -> float:
        if anchor is not None:
            self._anchored[anchor] = more
        outer, size = self._open[-1]
        self._open[-1] = outer, size + more
        return size + more


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1


def _is_resolved(scalar: yaml.ScalarEvent) -> bool:
    """Whether the scalar may become something other than a string: it is neither quoted nor a block, or has a tag."""
    return scalar.tag is not None or scalar.implicit[0]
