"""Arrows point one way: values <- pure <- metrics <- recorder <- capture, server."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import anthropic_exporter

PACKAGE = Path(anthropic_exporter.__file__).parent
MODULES = {path.stem: path for path in PACKAGE.glob("*.py")}

#: What the core's modules may import of ours. A module below may never import one above it.
LAYERS = [
    {
        "errors",
        "call",
        "__about__",
        "labels",
        "exact",
        "sliding",
        "retries",
        "inflight",
        "attribution",
        "families",
        "routes",
    },
    {"platforms", "rate_limits", "inflate", "seen", "request_body"},
    {"heading"},
    {"marked_yaml", "bundle", "reading", "cells"},
    {"price_file", "stream", "render"},
    {"prices", "metrics", "collector"},
    {"genai"},
    {"live_prices"},
    {"recorder"},
    {"attempt", "batches"},
    {"tee", "server", "notices"},
    {"capture"},
]


def imports(path, *, at_run_time):
    """(own modules, foreign packages) that a file imports; without those under `if TYPE_CHECKING`, where asked."""
    tree = ast.parse(path.read_text())
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in guarded if at_run_time for inner in ast.walk(node)}
    names = {name for node in ast.walk(tree) if id(node) not in skipped for name in imported(node)}
    return {name[1:] for name in names if name[0] == "."} & MODULES.keys(), {n for n in names if n[0] != "."}


def imported(node):
    """What one statement imports; the project's own modules with a leading dot."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    dot = "." if node.level else ""
    return [dot + node.module.split(".")[0]] if node.module else [dot + alias.name for alias in node.names]


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_no_arrow_points_up(layer):
    above = set().union(*LAYERS[layer + 1 :])
    for module in LAYERS[layer]:
        tree_imports, _ = imports(MODULES[module], at_run_time=True)
        lazily = {"capture"} if module == "recorder" else set()  # `recorder.middleware()` makes its own middleware
        assert tree_imports & above <= lazily, module


def test_only_capture_knows_the_sdk():
    core = set().union(*LAYERS)
    assert {m for m in core if "anthropic" in imports(MODULES[m], at_run_time=False)[1]} == {"capture"}


def test_only_the_collector_and_the_recorder_know_prometheus_client():
    core = set().union(*LAYERS)
    knowing = {m for m in core if "prometheus_client" in imports(MODULES[m], at_run_time=False)[1]}
    assert knowing == {"collector", "recorder"}
