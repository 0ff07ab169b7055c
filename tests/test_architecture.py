"""Arrows point one way: the table of layers in `docs/architecture.md` is what every import is held to."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import anthropic_exporter

PACKAGE = Path(anthropic_exporter.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "architecture.md"
ROOT = PACKAGE.name


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(source: str, importer: str, *, is_package: bool) -> set[str]:
    """Every module of ours that a source imports, absolute or relative, at any depth, for types or at run time."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == ROOT}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, importer, is_package=is_package)
            if base.split(".")[0] == ROOT:
                members = {f"{base}.{alias.name}" for alias in node.names}
                found |= {member if member in MODULES else base for member in members}
    return found - {importer}


def absolute(node: ast.ImportFrom, importer: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = importer.split(".")
    parents = parents[: len(parents) - node.level + is_package]
    return ".".join([*parents, *filter(None, [node.module])])


def graph() -> dict[str, set[str]]:
    return {
        name: imports_of(path.read_text(encoding="utf-8"), name, is_package=path.name == "__init__.py")
        for name, path in MODULES.items()
    }


def layers() -> list[list[str]]:
    """The table's rows from the bottom up: each names folders (`wire/`) and modules (`call`)."""
    table = PAGE.read_text(encoding="utf-8").split("## Layers", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|", table, re.MULTILINE)[1:]
    return [re.findall(r"`([\w/]+)`", row) for row in rows if "`" in row]


def layer_of(module: str) -> int:
    """The layer of the longest entry that covers the module."""
    path = module.removeprefix(ROOT).lstrip(".").replace(".", "/") or "__init__"
    ranked = [
        (len(entry), rank)
        for rank, row in enumerate(layers())
        for entry in row
        if path == entry.rstrip("/") or (entry.endswith("/") and path.startswith(entry))
    ]
    assert ranked, f"{module} is in no layer of {PAGE.name}"
    return max(ranked)[1]


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Modules on a circle, found by removing leaves until none is left."""
    left = {name: set(targets) for name, targets in edges.items()}
    while leaves := [name for name, targets in left.items() if not targets & left.keys()]:
        for leaf in leaves:
            del left[leaf]
    return sorted(left)


def test_every_module_is_in_a_layer() -> None:
    assert [module for module in MODULES if layer_of(module) < 0] == []


def test_no_arrow_points_up() -> None:
    edges = graph()
    up = {(name, target) for name in edges for target in edges[name] if layer_of(target) > layer_of(name)}
    assert up == set()


def test_there_is_no_import_cycle() -> None:
    # A package's own `__init__` names what its modules hold; they import each other by their full names.
    assert circles(graph()) == []


def test_imports_are_written_in_one_style() -> None:
    assert [
        (name, node.lineno)
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ] == []


def test_a_class_name_stands_for_one_thing() -> None:
    # A name with an underscore belongs to its module. A protocol may be named like the class that it describes.
    classes = [
        (node.name, any(ast.unparse(base) == "Protocol" for base in node.bases))
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    names = [name for name, is_protocol in classes if not is_protocol]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize(
    ("statement", "target"),
    [
        ("from anthropic_exporter.web.server import Server", "anthropic_exporter.web.server"),
        ("from anthropic_exporter.web import server", "anthropic_exporter.web.server"),
        ("import anthropic_exporter.web.server", "anthropic_exporter.web.server"),
        ("from ..web.server import Server", "anthropic_exporter.web.server"),
        ("from ..web import server", "anthropic_exporter.web.server"),
        ("def f():\n    from anthropic_exporter.web.server import Server", "anthropic_exporter.web.server"),
        ("if TYPE_CHECKING:\n    from anthropic_exporter.recorder import Recorder", "anthropic_exporter.recorder"),
    ],
)
def test_an_arrow_up_is_seen_in_every_import_style(statement: Any, target: Any) -> None:
    book = "anthropic_exporter.pricing.book"
    assert imports_of(statement, book, is_package=False) == {target}
    assert layer_of(target) > layer_of(book)


def foreign(module: str) -> set[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    absolute_imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in absolute_imports | plain}


@pytest.mark.parametrize(
    ("package", "knowing"),
    [
        ("anthropic", {"capture.middleware", "capture.instrument"}),
        ("prometheus_client", {"metrics.registry", "recorder"}),
    ],
)
def test_only_these_know(package: Any, knowing: Any) -> None:
    programs = layer_of("anthropic_exporter.simulator")
    core = [module for module in MODULES if layer_of(module) < programs]
    assert {module.removeprefix(f"{ROOT}.") for module in core if package in foreign(module)} == knowing
