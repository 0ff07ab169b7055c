"""Position and totals in one file, shown only when saved: crashes, full disks and damaged files."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import ConfigurationError
from anthropic_exporter.collector import state_file
from anthropic_exporter.collector.collector import Collector
from anthropic_exporter.collector.state_file import CollectorFolder
from anthropic_exporter.transport.cells_message import Definition, Layout, encode
from anthropic_exporter.transport.interface import Received, TransportError
from collectors import value_of
from fleet_messages import COST, INFLIGHT, MODEL, SPEED, message, requests
from support import NOON, Clock

REQUESTS = "anthropic_requests_total"


class Log:
    """A queue in memory that everybody may read from the beginning."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.down = False

    def open_at(self, position: str) -> Reader:
        return Reader(self, position)


class Reader:
    def __init__(self, log: Log, position: str) -> None:
        self.log, self.position, self.next = log, position, int(position or 0)
        self.acknowledged: list[Any] = []

    def receive(self, most: int, _seconds: float) -> list[Received]:
        if self.log.down:
            raise TransportError("unreachable", "test")
        found = self.log.messages[self.next : self.next + most]
        first, self.next = self.next, self.next + len(found)
        return [Received(str(first + index + 1), data) for index, data in enumerate(found)]

    def acknowledge(self, tokens: list[str]) -> None:
        self.acknowledged += tokens

    def close(self) -> None:
        pass


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(log: Log, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Collector]]:
    folders = []

    def make(source: str = "") -> Collector:
        folder = CollectorFolder(tmp_path)
        assert folder.take()
        folders.append(folder)
        return Collector(folder, log.open_at, source=source, clock=clock, wall=clock)  # type: ignore[arg-type]

    yield make
    for folder in folders:
        folder.close()


def shown(collector: Collector, name: str, **labels: str) -> float | None:
    return value_of(collector.render().decode(), name, **labels)


def crash(collector: Collector) -> None:
    """As after kill -9: what is not in the file is gone."""
    collector._folder.close()


def poisoned(old: bytes, new: bytes) -> bytes:
    """A message with a text replaced in its header."""
    made = encode(message(requests(), cells={0: 171.0}))
    prefix, content = made[:12], made[12:]
    assert old in content
    length = int.from_bytes(prefix[8:], "little") + len(new) - len(old)
    return prefix[:8] + length.to_bytes(4, "little") + content.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sent_at":1795262401.0', b'"sent_at":NaN'),
        (b'"sent_at":1795262401.0', b'"sent_at":-Infinity'),
        (b'"sent_at":1795262401.0', b'"sent_at":"nan"'),
        (b'"period":1.0', b'"period":Infinity'),
        (b",1795262400.0]", b",NaN]"),
        (b'"host-1"', rb'"\ud800"'),
        (b'"api"', rb'"\udcff"'),
        (b'"chat"', rb'"\ud800"'),
    ],
)
def test_a_message_that_cannot_be_saved_or_shown_stops_no_collector(
    opened: Callable[..., Collector], log: Log, old: bytes, new: bytes
) -> None:
    """It stays in the queue: a collector that it ended would end again."""
    log.messages += [poisoned(old, new), encode(message(requests(), identity="two", host="host-2", cells={0: 29.0}))]
    collector = opened()
    collector.catch_up(1.0)
    assert collector.save()
    assert shown(collector, REQUESTS, service="api", feature="chat") in (29.0, 200.0)
    crash(collector)
    opened()


def test_a_message_that_fails_to_merge_is_counted_and_passed(
    opened: Callable[..., Collector], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    collector = opened()
    monkeypatch.setattr(collector.fleet, "take", lambda *_, **__: 1 / 0)
    collector.catch_up(1.0)
    assert shown(collector, "anthropic_collector_errors_total", stage="merge") == 1.0
    assert shown(collector, "anthropic_collector_messages_total", result="unreadable") == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e301])
def test_a_counter_that_is_none_is_counted(opened: Callable[..., Collector], log: Log, value: float) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    log.messages.append(encode(message(sequence=2, cells={0: value})))
    collector = opened()
    collector.catch_up(1.0)
    assert shown(collector, REQUESTS) == 171.0
    assert shown(collector, "anthropic_collector_ignored_cells_total", reason="invalid") == 1.0


def test_what_was_merged_and_saved_is_there_after_a_crash(opened: Callable[..., Collector], log: Log) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened()
    first.catch_up(1.0)
    crash(first)
    second = opened()
    assert shown(second, REQUESTS) == 171.0
    log.messages.append(encode(message(sequence=2, cells={0: 200.0})))
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 200.0


def test_the_state_of_another_stream_is_an_error(opened: Callable[..., Collector], log: Log, tmp_path: Path) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened("redis/anthropic-cells-0")
    first.catch_up(1.0)
    crash(first)
    before = (tmp_path / state_file.NAME).read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        opened("redis/anthropic-cells-1")
    assert str(caught.value) == (
        f"{tmp_path}: contains the totals of stream 'anthropic-cells-0', not of 'anthropic-cells-1': "
        "give another --state"
    )
    assert (tmp_path / state_file.NAME).read_bytes() == before


def test_another_kind_of_queue_is_read_from_its_beginning(
    opened: Callable[..., Collector], log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened("redis/anthropic-cells")
    first.catch_up(1.0)
    crash(first)
    second = opened("nats/anthropic-cells")
    assert second._transport.position == ""
    assert "the state was read from another kind of queue (redis): reading this one from its beginning" in caplog.text
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 171.0
    crash(second)
    third = opened("nats/anthropic-cells")
    assert third._transport.position == "1"
    crash(third)
    # a version before this one did not say: its position is believed
    assert opened()._transport.position == "1"


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (3_600.0, "a message of host 'web-1' of service 'api' took 3600 s, or its clock is behind this one"),
        (-3_600.0, "the clock of host 'web-1' of service 'api' is 3600 s ahead of this one"),
        (14.0, ""),
    ],
)
def test_a_host_whose_clock_is_wrong_is_named_once_a_minute(
    opened: Callable[..., Collector],
    log: Log,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    behind: float,
    said: str,
) -> None:
    collector = opened()
    collector.catch_up(1.0)
    for number in range(1, 4):
        sent = message(requests(), sequence=number, host="web-1", cells={0: 100.0 + number}, sent_at=clock() - behind)
        log.messages.append(encode(sent))
        collector.step(0.0)
    assert [one.message for one in caplog.records] == ([said] if said else [])
    collector.save()
    assert shown(collector, REQUESTS) == 103.0


def test_what_was_replaced_stays_replaced_after_a_crash(opened: Callable[..., Collector], log: Log) -> None:
    log.messages.append(encode(message(requests(), identity="host", cells={0: 171.0}, replaces=("one",), lasting=True)))
    first = opened()
    first.catch_up(1.0)
    crash(first)
    log.messages.append(encode(message(requests(), identity="one", cells={0: 100.0})))
    second = opened()
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 171.0
    assert second.fleet.members["host"].lasting


def test_nothing_is_shown_that_a_crash_could_take_back(
    opened: Callable[..., Collector], log: Log, clock: Clock
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened()
    first.catch_up(1.0)
    log.messages.append(encode(message(sequence=2, cells={0: 200.0})))
    first.step(0.0)
    assert shown(first, REQUESTS) == 171.0
    crash(first)
    log.messages.clear()  # and the queue lost its disk
    assert shown(opened(), REQUESTS) == 171.0


def test_what_was_not_saved_is_read_again(opened: Callable[..., Collector], log: Log) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened()
    first._save_due = float("inf")
    first.step(0.0)
    crash(first)
    second = opened()
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 171.0


def test_messages_are_acknowledged_only_after_the_state_is_written(
    opened: Callable[..., Collector], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    collector = opened()
    monkeypatch.setattr(state_file.os, "fsync", full_disk)  # type: ignore[attr-defined]
    collector.catch_up(1.0)
    assert collector._transport.acknowledged == []  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert collector.save()
    assert collector._transport.acknowledged == ["1"]  # type: ignore[attr-defined]


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_state_and_shows_fresh_totals(
    opened: Callable[..., Collector],
    log: Log,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    collector = opened()
    collector.catch_up(1.0)
    before = (tmp_path / "collector.state").read_bytes()
    monkeypatch.setattr(state_file.os, "fsync", full_disk)  # type: ignore[attr-defined]
    log.messages.append(encode(message(sequence=2, cells={0: 200.0})))
    clock.now += 5
    collector.step(0.0)
    clock.now += 7
    assert shown(collector, REQUESTS) == 200.0
    assert shown(collector, "anthropic_collector_errors_total", stage="state") == 1.0
    assert shown(collector, "anthropic_collector_state_age_seconds") == 12.0
    assert (tmp_path / "collector.state").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collector.state", "lock"]
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    assert collector.save()
    crash(collector)
    assert shown(opened(), REQUESTS) == 200.0


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_crash_while_saving_leaves_a_whole_state(
    opened: Callable[..., Collector], log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_arguments: Any, **_options: Any) -> None:
        raise KilledError

    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened()
    first.catch_up(1.0)
    log.messages.append(encode(message(sequence=2, cells={0: 200.0})))
    with monkeypatch.context() as patch:
        target = {"write": "anthropic_exporter.collector.state_file.encode", "fsync": "os.fsync"}
        patch.setattr(target.get(moment, "pathlib.Path.replace"), killed)
        with pytest.raises(KilledError):
            first.save()
    crash(first)
    second = opened()
    assert shown(second, REQUESTS) == 171.0
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 200.0


def test_everything_survives_a_restart(opened: Callable[..., Collector], log: Log) -> None:
    cost = Definition(1, COST, (MODEL, "chat", "", "standard", "input"), NOON)
    speed, inflight = Definition(2, SPEED, (MODEL,), NOON), Definition(14, INFLIGHT, (MODEL, "chat"), 0.0)
    cells = {0: 171.0, 1: 0.1, 6: 3.0, 13: 240.0, 14: 2.0}
    log.messages.append(encode(message(requests(), cost, speed, inflight, cells=cells)))
    first = opened()
    first.catch_up(1.0)
    before = first.render()
    crash(first)
    second = opened()
    own = b"anthropic_collector_"
    assert [line for line in second.render().splitlines() if own not in line] == [
        line for line in before.splitlines() if own not in line
    ]
    log.messages.append(encode(message(sequence=2, cells={0: 172.0, 14: 5.0})))  # by the numbers of the message before
    second.catch_up(1.0)
    assert shown(second, REQUESTS) == 172.0
    assert shown(second, "anthropic_inflight_requests") == 5.0


def test_the_life_of_the_totals_is_that_of_the_folder(opened: Callable[..., Collector]) -> None:
    first = opened()
    first.save()
    life = first.fleet.life
    crash(first)
    assert opened().fleet.life == life


def test_a_damaged_state_is_an_error_that_says_what_to_do(opened: Callable[..., Collector], tmp_path: Path) -> None:
    (tmp_path / "collector.state").write_bytes(b"rubbish")
    with pytest.raises(ConfigurationError, match=r"collector\.state: is not a state of this version: move it away"):
        opened()


def test_a_state_that_was_cut_off_anywhere_is_an_error(
    opened: Callable[..., Collector], log: Log, tmp_path: Path
) -> None:
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    first = opened()
    first.catch_up(1.0)
    crash(first)
    path = tmp_path / "collector.state"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigurationError, match="move it away"):
            state_file.read(path)


def test_the_state_is_for_its_owner_alone(opened: Callable[..., Collector], tmp_path: Path) -> None:
    opened().save()
    assert (tmp_path / "collector.state").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="give another --state"):
        CollectorFolder(tmp_path / "file" / "state")


def test_messages_that_cannot_be_read_are_counted_and_passed(opened: Callable[..., Collector], log: Log) -> None:
    newer = bytearray(encode(message(requests(), cells={0: 1.0})))
    newer[4] = 9
    log.messages += [b"", b"rubbish", bytes(newer), encode(message(requests(), cells={0: 171.0}))]
    collector = opened()
    collector.catch_up(1.0)
    results = {
        name: shown(collector, "anthropic_collector_messages_total", result=name)
        for name in ("merged", "unreadable", "newer_format")
    }
    assert results == {"merged": 1.0, "unreadable": 2.0, "newer_format": 1.0}
    assert shown(collector, REQUESTS) == 171.0


def test_a_queue_that_is_down_is_counted_and_the_totals_stay(
    opened: Callable[..., Collector], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.collector.collector._PAUSE_AFTER_ERROR_SECONDS", 0.0)
    log.messages.append(encode(message(requests(), cells={0: 171.0})))
    collector = opened()
    collector.catch_up(1.0)
    assert shown(collector, "anthropic_collector_queue_up") == 1.0
    log.down = True
    collector.step(0.0)
    assert shown(collector, "anthropic_collector_queue_up") == 0.0
    assert shown(collector, "anthropic_collector_errors_total", stage="queue") == 1.0
    assert shown(collector, REQUESTS) == 171.0


def test_the_end_of_a_failure_is_logged_once(
    opened: Callable[..., Collector],
    log: Log,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anthropic_exporter.collector.collector._PAUSE_AFTER_ERROR_SECONDS", 0.0)
    collector = opened()
    for log.down in (False, True, True, False, False):
        collector.step(0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "failed at stage queue: unreachable: test; retrying",
        "the queue can be read again",
    ]


def test_what_waited_in_the_queue_is_late(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    log.messages.append(encode(message(requests(), cells={0: 1.0}, sent_at=clock.now)))
    collector = opened()
    collector.catch_up(1.0)
    collector.fleet.late.clear()
    clock.now += 60  # the collector stood still
    log.messages += [encode(message(sequence=2 + n, sent_at=clock.now - 60 + n, cells={0: 2.0 + n})) for n in range(60)]
    collector.step(0.0)
    assert collector.fleet.late == {0: 60.0}
    collector.fleet.late.clear()
    clock.now += 1
    log.messages.append(encode(message(sequence=62, sent_at=clock.now, cells={0: 100.0})))
    collector.step(0.0)
    assert collector.fleet.late == {}


def test_hosts_are_live_lost_and_gone(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    log.messages.append(encode(message(requests(), identity="a", host="one", cells={0: 1.0})))
    log.messages.append(encode(message(requests(), identity="b", host="two", cells={0: 1.0}, final=True)))
    collector = opened()
    collector.catch_up(1.0)

    def hosts() -> list[float]:
        return [shown(collector, "anthropic_collector_hosts", state=state) for state in ("live", "lost")]

    assert hosts() == [1.0, 0.0]
    clock.now += 31
    assert hosts() == [0.0, 1.0]
    assert shown(collector, "anthropic_collector_last_message_age_seconds", host="one", service="api") == 31.0
    clock.now += 3600
    assert hosts() == [0.0, 0.0]


def test_a_killed_process_that_was_replaced_is_not_a_lost_host(
    opened: Callable[..., Collector], log: Log, clock: Clock
) -> None:
    log.messages.append(encode(message(requests(), identity="killed", cells={0: 1.0})))
    collector = opened()
    collector.catch_up(1.0)
    clock.now += 40
    log.messages.append(encode(message(requests(), identity="next", cells={0: 1.0})))
    collector.step(0.0)
    assert shown(collector, "anthropic_collector_hosts", state="lost") == 0.0


def of_machine(machine: str, sent_at: float, sequence: int = 1, **fields: Any) -> bytes:
    cells = {0: 1.0}
    return encode(
        message(
            requests(),
            identity=machine or "older",
            machine=machine,
            sent_at=sent_at,
            sequence=sequence,
            cells=cells,
            **fields,
        )
    )


def test_of_two_hosts_with_one_name_the_loss_of_one_is_seen(
    opened: Callable[..., Collector], log: Log, clock: Clock
) -> None:
    log.messages += [of_machine("m1", NOON), of_machine("m2", NOON)]
    collector = opened()
    collector.catch_up(1.0)

    def hosts() -> list[float]:
        return [shown(collector, "anthropic_collector_hosts", state=state) for state in ("live", "lost")]

    for sequence in (2, 3):
        assert hosts() == [2.0, 0.0]
        clock.now += 25
        log.messages.append(of_machine("m1", NOON + sequence, sequence))
        collector.step(0.0)
        clock.now += 10
        assert hosts() == [1.0, 1.0]
        assert shown(collector, "anthropic_collector_last_message_age_seconds", host="host-1", service="api") == 35.0
        assert collector.save()
        collector.close()
        collector = opened()  # silence counts from now


def test_a_machine_that_was_started_again_takes_the_place_of_one_that_was_silent_by_then(
    opened: Callable[..., Collector], log: Log, clock: Clock
) -> None:
    log.messages += [of_machine("m1", NOON), of_machine("m2", NOON), of_machine("done", NOON, final=True)]
    collector = opened()
    collector.catch_up(1.0)

    def lost(sent_at: float, *messages: bytes) -> float:
        clock.now += 40
        log.messages.extend((*messages, of_machine("m2", sent_at, int(sent_at - NOON))))
        collector.step(0.0)
        return shown(collector, "anthropic_collector_hosts", state="lost")

    assert lost(NOON + 40) == 1.0
    assert lost(NOON + 80, of_machine("m1 again", NOON + 80)) == 0.0
    assert lost(NOON + 120) == 1.0  # that one, too
    assert lost(NOON + 160, of_machine("m1 anew", NOON + 160)) == 0.0


def test_an_older_publisher_does_not_say_its_machine(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    log.messages += [of_machine("", NOON), of_machine("m1", NOON)]
    collector = opened()
    collector.catch_up(1.0)
    clock.now += 40
    log.messages.append(of_machine("m1", NOON + 40, 2))
    collector.step(0.0)
    assert shown(collector, "anthropic_collector_hosts", state="lost") == 0.0


def test_messages_that_the_queue_refused_are_not_gaps(opened: Callable[..., Collector], log: Log) -> None:
    for sequence, unsent in ((1, 0), (62, 60), (65, 0)):
        log.messages.append(encode(message(requests(), sequence=sequence, unsent=unsent, cells={0: 1.0})))
    collector = opened()
    collector.catch_up(1.0)
    assert shown(collector, "anthropic_collector_message_gaps_total") == 2.0


def test_gauges_of_a_fleet(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    inflight = Definition(0, INFLIGHT, (MODEL, "chat"), 0.0)
    age = INFLIGHT._replace(family="anthropic_oldest_inflight_request_age_seconds")
    oldest = Definition(1, age, (MODEL, "chat"), 0.0)
    for host, cells in (("one", {0: 2.0, 1: 7.5}), ("two", {0: 3.0, 1: 1.5})):
        log.messages.append(encode(message(inflight, oldest, identity=host, host=host, cells=cells)))
    collector = opened()
    collector.catch_up(1.0)
    assert shown(collector, "anthropic_inflight_requests") == 5.0
    assert shown(collector, "anthropic_oldest_inflight_request_age_seconds") == 7.5
    clock.now += 31
    assert shown(collector, "anthropic_inflight_requests") is None


def test_workers_of_all_hosts(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    """A host that is cut off and comes back does not look like workers that are lost."""
    workers = Layout("anthropic_exporter_workers", "gauge", ("state",))
    defined = [Definition(number, workers, (state,), 0.0) for number, state in enumerate(("alive", "exited", "lost"))]
    for host, cells in (("one", {0: 4.0, 1: 7.0, 2: 5.0}), ("two", {0: 2.0, 1: 1.0, 2: 0.0})):
        log.messages.append(encode(message(*defined, identity=host, host=host, cells=cells)))
    collector = opened()
    collector.catch_up(1.0)
    name = "anthropic_exporter_workers"
    assert [shown(collector, name, state=state) for state in ("alive", "exited", "lost")] == [6.0, 8.0, 5.0]
    clock.now += 31
    assert [shown(collector, name, state=state) for state in ("alive", "exited", "lost")] == [None, 8.0, 5.0]


def test_the_lag_is_the_longest_of_the_last_minute(opened: Callable[..., Collector], log: Log, clock: Clock) -> None:
    log.messages.append(encode(message(requests(), cells={0: 1.0}, sent_at=clock.now - 3.5)))
    log.messages.append(encode(message(sequence=2, cells={0: 1.0}, sent_at=clock.now - 0.5)))
    collector = opened()
    collector.catch_up(1.0)
    assert shown(collector, "anthropic_collector_lag_seconds") == 3.5
    clock.now += 61
    assert shown(collector, "anthropic_collector_lag_seconds") == 0.0
