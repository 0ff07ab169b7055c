"""YAML that remembers where each mapping stood, so that a mistake can be named by file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigurationError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mapping(dict[str, Any]):
    """A YAML mapping with `lines`: the 1-based line of each of its keys."""

    lines: dict[str, int]


class _MarkedLoader(_Loader):  # type: ignore[misc]
    """The safe loader, but a mapping keeps its lines and a repeated key is a mistake."""


def _construct(loader: Any, node: yaml.MappingNode) -> Mapping:
    mapping = Mapping()
    mapping.lines = {}
    for key_node, value_node in node.value:
        key, line = str(loader.construct_object(key_node, deep=True)), key_node.start_mark.line + 1
        if key in mapping:
            raise yaml.MarkedYAMLError(
                problem=f"key {key!r} stands here a second time", problem_mark=key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
        mapping.lines[key] = line
    return mapping


_MarkedLoader.add_constructor("tag:yaml.org,2002:map", _construct)


def load(path: Path) -> Mapping:
    """Read a YAML file whose root is a mapping.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, or its root is no mapping; names file and line.
    """
    try:
        root = yaml.load(path.read_text(encoding="utf-8"), Loader=_MarkedLoader)  # noqa: S506 - derives from the safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
        ) from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not YAML"
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigurationError(f"{where}: {problem}") from error
    if not isinstance(root, Mapping):
        raise ConfigurationError(f"{path}:1: a mapping with `models:` is expected")
    return root
