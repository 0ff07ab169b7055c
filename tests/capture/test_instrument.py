"""`instrument(recorder)`: clients created later are recorded, without a change where they are made, and undoable."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from anthropic import _base_client
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, instrument
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK, answer
from support import Samples

pytest_plugins = ("fixtures_fake_api",)

ORIGINALS = (_base_client.SyncAPIClient.__init__, _base_client.AsyncAPIClient.__init__)


def originals() -> Any:
    return (_base_client.SyncAPIClient.__init__, _base_client.AsyncAPIClient.__init__) == ORIGINALS


@pytest.fixture(autouse=True)
def _undone() -> Generator[Any, Any, Any]:
    """No test leaves the SDK changed."""
    yield
    assert originals()


@pytest.fixture
def options(fake_api: FakeApi) -> Any:
    fake_api.push(*[answer()] * 8)
    return {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}


@pytest.fixture
def second() -> Any:
    """A second recorder and what it counted."""
    registry = CollectorRegistry()
    return Recorder(registry=registry, strict=True), Samples(registry)


def ask(options: Any, **more: Any) -> None:
    with anthropic.Anthropic(**options, **more) as client:
        client.messages.create(**ASK)


def requests(samples: Samples) -> Any:
    return samples("anthropic_requests_total") or 0


async def test_clients_created_later_are_recorded_sync_and_async(
    options: Any, recorder: Recorder, samples: Samples
) -> None:
    with anthropic.Anthropic(**options) as before:
        undo = instrument(recorder)
        before.messages.create(**ASK)
    assert requests(samples) == 0
    ask(options)
    async with anthropic.AsyncAnthropic(**options) as client:
        await client.messages.create(**ASK)
    undo()
    assert requests(samples) == 2
    assert samples("anthropic_tokens_total") == 4300


def test_undone_means_clients_created_later_are_plain_and_those_created_meanwhile_continue(
    options: Any, recorder: Recorder, samples: Samples
) -> None:
    undo = instrument(recorder)
    with anthropic.Anthropic(**options) as meanwhile:
        undo()
        assert originals()
        ask(options)
        assert requests(samples) == 0
        meanwhile.messages.create(**ASK)
    assert requests(samples) == 1


def test_a_second_time_changes_nothing_and_undoes_nothing(options: Any, recorder: Recorder, samples: Samples) -> None:
    undo, again = instrument(recorder), instrument(recorder)
    again()
    ask(options)
    assert requests(samples) == 1
    undo()
    undo()
    ask(options)
    assert requests(samples) == 1


def test_it_can_be_done_again_after_it_was_undone(options: Any, recorder: Recorder, samples: Samples) -> None:
    instrument(recorder)()
    undo = instrument(recorder)
    ask(options)
    undo()
    assert requests(samples) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_recorders_both_count_and_are_undone_in_any_order(
    options: Any, recorder: Recorder, samples: Samples, second: Any, order: Any
) -> None:
    other, others = second
    undo = (instrument(recorder), instrument(other))
    ask(options)
    assert (requests(samples), requests(others)) == (1, 1)
    undo[order[0]]()
    ask(options)
    assert sorted((requests(samples), requests(others))) == [1, 2]
    assert (requests(samples), requests(others))[order[1]] == 2
    undo[order[1]]()
    assert originals()
    ask(options)
    assert requests(samples) + requests(others) == 3


@pytest.mark.parametrize("derive", [lambda c: c.copy(max_retries=1), lambda c: c.with_options(timeout=30)])
def test_a_client_made_from_another_counts_once(
    options: Any, recorder: Recorder, samples: Samples, derive: Any
) -> None:
    undo = instrument(recorder)
    with anthropic.Anthropic(**options) as client:
        derive(derive(client)).messages.create(**ASK)
    undo()
    assert requests(samples) == 1


def test_a_client_that_carries_the_middleware_counts_once(options: Any, recorder: Recorder, samples: Samples) -> None:
    undo = instrument(recorder)
    ask(options, middleware=[recorder.middleware()])
    undo()
    assert requests(samples) == 1


def test_other_middleware_stays_and_is_outside_of_ours(options: Any, recorder: Recorder, samples: Samples) -> None:
    seen = []

    def outer(request: Any, call_next: Any) -> Any:
        seen.append(requests(samples))
        response = call_next(request)
        seen.append(requests(samples))
        return response

    undo = instrument(recorder)
    ask(options, middleware=[outer])
    undo()
    assert seen == [0, 1]


@pytest.mark.parametrize("dressed", [True, False], ids=["with functools.wraps", "plain"])
def test_what_somebody_else_wrapped_since_is_left_alone(
    options: Any, recorder: Recorder, samples: Samples, monkeypatch: pytest.MonkeyPatch, dressed: Any
) -> None:
    undo = instrument(recorder)
    ours, made = _base_client.SyncAPIClient.__init__, []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(type(self).__name__)
        ours(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(_base_client.SyncAPIClient, "__init__", functools.wraps(ours)(theirs) if dressed else theirs)
        undo()
        ask(options)
        assert made == ["Anthropic"]
        assert requests(samples) == 0
        undo = instrument(recorder)
        ask(options)
        undo()
        assert made == ["Anthropic"] * 2
        assert requests(samples) == 1
    _base_client.SyncAPIClient.__init__ = ORIGINALS[0]  # type: ignore[method-assign]


def test_clients_that_exist_already_are_named_in_the_log(
    options: Any, recorder: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmade = anthropic.Anthropic.__new__(anthropic.Anthropic)
    clients = [anthropic.Anthropic(**options), anthropic.AsyncAnthropic(**options)]
    closed = anthropic.Anthropic(**options)
    closed.close()
    carrying = anthropic.Anthropic(**options, middleware=[recorder.middleware()])
    monkeypatch.setattr(gc, "get_objects", lambda: [*clients, closed, carrying, unmade, options])
    instrument(recorder)()
    line = next(one.getMessage() for one in caplog.records if "instrument()" in one.getMessage())
    assert line.startswith("2 clients were created before instrument() and not recorded: call instrument() first")
    assert "with_options(middleware=[*client.middleware, recorder.middleware()])" in line
    for one in (clients[0], carrying):
        one.close()  # type: ignore[attr-defined]


def test_another_copy_of_the_library_counts_for_its_own_recorder(
    options: Any, recorder: Recorder, registry: CollectorRegistry
) -> None:
    """A reloader imports the library again, and leaves the wrapper of the copy before where it is."""
    undo_first = instrument(recorder)
    copies = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("anthropic_exporter")}
    try:
        again = importlib.import_module("anthropic_exporter")
        undo = again.instrument(again.Recorder(registry=registry))
        ask(options)
        undo()
        ask(options)
    finally:
        for name in [name for name in sys.modules if name.startswith("anthropic_exporter")]:
            del sys.modules[name]
        sys.modules.update(copies)
    undo_first()
    assert requests(Samples(registry)) == 1


def test_a_client_that_exists_already_is_recorded_as_the_log_says(
    fake_api: FakeApi, options: Any, recorder: Recorder, samples: Samples
) -> None:
    fake_api.push(answer())
    with anthropic.Anthropic(**options) as client:
        recorded = client.with_options(middleware=[*client.middleware, recorder.middleware()])
        recorded.messages.create(**ASK)
    assert samples("anthropic_requests_total", outcome="success") == 1
