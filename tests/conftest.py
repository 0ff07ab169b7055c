"""Fixtures that every test may ask for: a fresh registry, a strict recorder on it, a clock that only tests move."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import running_order
from anthropic_exporter import Call, Inference, Recorder, Tokens
from support import MODEL, NOON, Clock, Samples


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three more than there are cores: tests with real servers mostly wait."""
    return (os.cpu_count() or 1) + 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files that wait and files that compute run side by side, the longest first."""
    with_servers = {item.path for item in items if item.get_closest_marker("stack")}
    positions = running_order.positions(dict.fromkeys(item.path for item in items), with_servers)
    items.sort(key=lambda item: positions[item.path])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def recorder(registry: CollectorRegistry, clock: Clock) -> Recorder:
    return Recorder(registry=registry, strict=True, clock=clock)


@pytest.fixture
def samples(registry: CollectorRegistry, recorder: Recorder) -> Samples:
    return Samples(registry)


@pytest.fixture
def call() -> Callable[..., Call]:
    """A call as capture makes it; `call(output=171)` changes tokens, `call(feature="chat")` any other field."""

    def make(**fields: Any) -> Call:
        tokens = {key: fields.pop(key) for key in Tokens._fields if key in fields}
        made = Call(model=fields.pop("model", MODEL), started_at=NOON, duration_seconds=1.5)._replace(**fields)
        return made._replace(inferences=(Inference(made.model, Tokens(**tokens)),)) if tokens else made

    return make


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no address of the person who runs the tests is ever used."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _own_runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes of tests meet in a folder of this run, not in that of services of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield
