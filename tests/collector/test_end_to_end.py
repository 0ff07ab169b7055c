"""A recorder, a real queue, and `anthropic-exporter collect` as a process: what was counted is what is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, bundle, publish, publishing, serve
from collectors import Collecting, wait_until
from queue_engines import Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
#: What each process says of itself, or of this very moment.
OWN = ("_max{", "inflight", "publish", "workers", "build_info", "source_info", "life=")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def url(server: Any, request: pytest.FixtureRequest) -> Any:
    return f"{server.url}?stream={request.node.originalname}"[:80]


def recorder_of() -> Any:
    return Recorder(registry=CollectorRegistry())


def test_two_services_become_one_page(url: Any, tmp_path: Path, call: Callable[..., Call]) -> None:
    api, batch = recorder_of(), recorder_of()
    with (
        publish(api, url, service="api", host="web-1", period_seconds=0.1),
        publish(batch, url, service="batch", host="web-2", period_seconds=0.1),
        Collecting(url, tmp_path) as collector,
    ):
        api.record(call(output=171, feature="chat"))
        batch.record(call(output=29, feature="chat"))
        batch.record(call(output=1, feature="report"))
        collector.wait_for("anthropic_tokens_total", 201.0, type="output")
        assert collector.value("anthropic_tokens_total", type="output", service="api") == 171.0
        assert collector.value("anthropic_tokens_total", type="output", service="batch", feature="report") == 1.0
        assert collector.value("anthropic_collector_hosts", state="live") == 2.0
        # the server asks it all that it asks a recorder
        for stage in ("serve", "queue", "state", "breakers"):
            assert collector.value("anthropic_collector_errors_total", stage=stage) == 0.0


def test_what_the_collector_shows_is_what_the_process_shows(
    url: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    recorder = recorder_of()
    for number in range(20):
        recorder.record(call(output=number * 100, input=3, feature=f"f{number % 3}", time_to_first_token_seconds=0.3))
    with publishing(recorder, url, service="api") as publisher:
        publisher.flush()
    with Collecting(url, tmp_path) as collector:
        shown = {line for line in collector.text().splitlines() if not line.startswith("#")}
    own = [line for line in recorder.render().decode().splitlines() if line.startswith("anthropic_") and "{" in line]
    counters = [line for line in own if not any(word in line for word in OWN)]
    with_service = {_with_service(line) for line in counters}
    assert len(with_service) > 100
    assert {line.split(" ")[0] for line in with_service} <= {line.split(" ")[0] for line in shown}
    assert with_service <= shown


def _with_service(line: Any) -> Any:
    """The line with `service="api"` where the alphabet wants it."""
    name, _, rest = line.partition("{")
    labels, _, value = rest.rpartition("} ")
    pairs = sorted([*labels.split(","), 'service="api"'], key=lambda pair: pair.split("=")[0])
    return f"{name}{{{','.join(pairs)}}} {value}"


def test_a_short_job_is_whole_at_its_end_and_leaves_no_lost_host(
    url: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    for _ in range(3):
        recorder = recorder_of()
        with publishing(recorder, url, service="nightly", host="batch-1"):
            recorder.record(call(output=171))
    with Collecting(url, tmp_path) as collector:
        collector.wait_for("anthropic_tokens_total", 513.0, type="output", service="nightly")
        assert collector.value("anthropic_collector_hosts", state="lost") == 0.0
        assert collector.value("anthropic_collector_members") == 3.0


def test_publishing_again_from_the_same_recorder_counts_nothing_twice(
    url: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    recorder = recorder_of()
    with Collecting(url, tmp_path) as collector:
        for expected in (171.0, 342.0):
            with publishing(recorder, url, service="nightly"):
                recorder.record(call(output=171))
            collector.wait_for("anthropic_tokens_total", expected, type="output")


def test_a_forked_child_is_a_publisher_of_its_own(url: Any, tmp_path: Path, call: Callable[..., Call]) -> None:
    recorder = recorder_of()
    with Collecting(url, tmp_path) as collector:
        publisher = publish(recorder, url, service="api", period_seconds=0.1)
        recorder.record(call(output=171))
        publisher.flush()
        child = os.fork()
        if child == 0:  # pragma: no cover - not this process
            recorder.record(call(output=29))
            os._exit(0 if publisher.close() else 1)
        assert os.waitpid(child, 0)[1] == 0
        collector.wait_for("anthropic_tokens_total", 200.0, type="output")
        publisher.close()


def test_a_collector_that_stops_cleanly_and_starts_again_continues(
    url: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    recorder = recorder_of()
    with publish(recorder, url, service="api", period_seconds=0.1), Collecting(url, tmp_path) as collector:
        recorder.record(call(output=171))
        collector.wait_for("anthropic_tokens_total", 171.0, type="output")
        assert collector.stop() == 0
        recorder.record(call(output=29))
        collector.start()
        collector.wait_for("anthropic_tokens_total", 200.0, type="output")


def test_an_edit_of_the_thresholds_holds_within_seconds_and_a_broken_one_changes_nothing(
    server: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    path, recorder, url = tmp_path / "thresholds.yml", recorder_of(), f"{server.url}?stream=thresholds"
    shipped = (bundle.path("prometheus") / "rules" / "thresholds.yml").read_text()
    budget = 'expr: "{}"\n        labels: {{threshold: tokens_per_day}}'
    assert budget.format(1000000) in shipped
    path.write_text(shipped)
    with (
        publish(recorder, url, service="api", period_seconds=0.1),
        Collecting(url, tmp_path / "state", "--guard", str(path)) as collector,
    ):
        recorder.record(call(output=1_000_171))
        collector.wait_for("anthropic_collector_conditions_holding", 1.0, condition="daily_tokens")
        path.write_text("[")
        collector.wait_for("anthropic_collector_errors_total", 1.0, stage="thresholds")
        assert collector.value("anthropic_collector_conditions_holding", condition="daily_tokens") == 1.0
        path.write_text(shipped.replace(budget.format(1000000), budget.format(2000000)))
        collector.wait_for("anthropic_collector_conditions_holding", None, condition="daily_tokens")


def test_a_standby_takes_over_when_the_active_one_is_killed(
    url: Any, tmp_path: Path, call: Callable[..., Call]
) -> None:
    recorder = recorder_of()
    active, standby = Collecting(url, tmp_path), Collecting(url, tmp_path)
    with publish(recorder, url, service="api", period_seconds=0.1), active:
        recorder.record(call(output=171))
        active.wait_for("anthropic_tokens_total", 171.0, type="output")
        standby.start(says="standby")
        active.kill()
        standby.wait_until_serving()
        recorder.record(call(output=29))
        with_standby = standby
        with_standby.wait_for("anthropic_tokens_total", 200.0, type="output")
        assert standby.stop() == 0


def test_workers_that_count_together_are_published_once_each(
    url: Any, tmp_path: Path, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process of a service shows the whole; what it publishes is its own."""
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    recorder = recorder_of()
    with serve(recorder, port=0), Collecting(url, tmp_path / "state") as collector:
        publisher = publish(recorder, url, service="api", period_seconds=0.1)
        recorder.record(call(output=171))
        child = os.fork()
        if child == 0:  # pragma: no cover - not this process
            recorder.record(call(output=29))
            os._exit(0 if publisher.close() else 1)
        assert os.waitpid(child, 0)[1] == 0
        collector.wait_for("anthropic_tokens_total", 200.0, type="output")
        recorder.record(call(output=1))
        collector.wait_for("anthropic_tokens_total", 201.0, type="output")
        publisher.close()


def test_the_process_counts_what_the_queue_took(url: Any, call: Callable[..., Call]) -> None:
    recorder = recorder_of()
    with publish(recorder, url, service="api", period_seconds=0.05):
        recorder.record(call(output=171))
        wait_until(lambda: _sent(recorder) >= 2.0)


def _sent(recorder: Any) -> Any:
    lines = [line for line in recorder.render().decode().splitlines() if line.startswith("anthropic_publish_messages")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'result="sent"' in line)
