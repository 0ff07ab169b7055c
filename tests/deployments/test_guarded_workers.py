"""The Guard of a service of several workers: one judges what all do together, and all obey."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from deployments.applications import GUARDED
from deployments.running import needs
from host.workers import scrape, total, wait_for

pytestmark = needs("gunicorn")
pytest_plugins = ("fixtures_fake_api",)
COMMAND = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "--no-control-socket", "-w", "3")
DAILY = "AnthropicDailyCostBudgetExceeded"


class Service:
    """gunicorn with three workers behind one Guard; each call costs ten cents."""

    def __init__(self, deployed: Any) -> None:
        self.deployed = deployed
        wait_for(lambda: deployed.get("/?role"), 30)

    def ask(self, query: Any = "") -> Any:
        pid, _, answer = wait_for(lambda: self.deployed.get(f"/?{query}")).partition(" ")
        return int(pid), answer

    def of_each(self, query: Any) -> Any:
        """What each of the three workers answers."""
        answers: dict[Any, Any] = {}
        wait_for(lambda: answers.update([self.ask(query)]) or len(answers) == 3)
        return answers

    def judge(self) -> Any:
        """The process that judges, as soon as there is one."""
        return wait_for(lambda: next((pid for pid, role in self.of_each("role").items() if role == "judge"), None))

    def until_all(self, query: Any, *wanted: Any) -> Any:
        return wait_for(lambda: sorted((found := self.of_each(query)).values()) == sorted(wanted) and found)

    def spend_all(self) -> Any:
        """Ask until a worker refuses; dollars a second."""
        began, calls = time.monotonic(), 0
        while self.ask()[1] == "answered":
            calls += 1
        return 0.1 * calls / (time.monotonic() - began)

    def spent(self) -> Any:
        return total(scrape(self.deployed.metrics_port), "anthropic_cost_usd_total")

    def notifications(self) -> Any:
        path = self.deployed.folder / "notifications"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start(deploy: Any, start_fake_api: Any) -> Any:
    api = start_fake_api(output_tokens=100_000, output_sigma=0.0)

    def start(*options: Any, limits: Any, **environment: Any) -> Any:
        return Service(
            deploy(GUARDED, *COMMAND, *options, "application:app", API=api.base_url, LIMITS=repr(limits), **environment)
        )

    return start


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=" ".join)
def test_a_daily_budget_is_that_of_all_workers_and_trips_once(start: Any, options: Any) -> None:
    service = start(*options, limits={"cost_usd_per_day": 1.0})
    pace = service.spend_all()
    service.until_all("", *["stopped by daily_cost"] * 3)
    spent = service.spent()
    assert 1.0 < spent < 1.1 + 1.5 * pace
    service.until_all("today", *[repr(spent)] * 3)
    assert wait_for(service.notifications) == [f"{DAILY} firing "]


def test_another_worker_continues_with_the_numbers_of_a_killed_judge(start: Any) -> None:
    service = start(limits={"cost_usd_per_day": 1.0})
    service.spend_all()
    wait_for(service.notifications)
    spent = service.spent()
    for _ in range(2):
        judge = service.judge()
        os.kill(judge, signal.SIGKILL)
        wait_for(lambda judge=judge: "judge" in (found := service.of_each("role")).values() and judge not in found)
        service.until_all("", *["stopped by daily_cost"] * 3)
        service.until_all("today", *[repr(spent)] * 3)
        service.until_all("alerts", *[repr([DAILY])] * 3)
    assert service.notifications() == [f"{DAILY} firing "]


def test_the_budget_that_was_spent_survives_a_restart(start: Any) -> None:
    service = start(limits={"cost_usd_per_day": 1.0})
    for _ in range(7):
        service.ask()
    spent = service.spent()
    service.until_all("today", *[repr(spent)] * 3)
    service.deployed.close()
    port = str(service.deployed.metrics_port)
    again = start(limits={"cost_usd_per_day": 1.0}, METRICS_PORT=port)
    again.until_all("today", *[repr(spent)] * 3)
    pace = again.spend_all()
    assert 1.0 < again.spent() < 1.1 + 1.5 * pace


def test_what_one_worker_measures_of_its_own_calls_stops_all_and_is_sent_once(start: Any) -> None:
    service = start(limits={})
    assert service.ask("expensive")[1] == "answered"
    service.until_all("report", *["stopped by request_cost"] * 3)
    service.until_all("loop", *["done"] * 3)  # each of them goes beyond its limit
    wait_for(lambda: len(service.notifications()) >= 2)
    service.until_all("alerts", *[repr(["AnthropicRequestUnusuallyExpensive", "AnthropicRunawayLoop"])] * 3)
    assert sorted(service.notifications()) == [
        "AnthropicRequestUnusuallyExpensive firing report",
        "AnthropicRunawayLoop firing agent",
    ]


def test_a_breaker_that_one_worker_opens_by_hand_is_open_in_all(start: Any) -> None:
    service = start(limits={})
    service.ask("open")
    service.until_all("", *["stopped by manual"] * 3)
    service.ask("close")
    service.until_all("", *["answered"] * 3)


def test_while_the_judge_hangs_each_worker_judges_itself(start: Any) -> None:
    service = start("--timeout", "600", limits={})
    judge = service.judge()
    os.kill(judge, signal.SIGSTOP)
    wait_for(lambda: service.ask("role")[1] == "alone", 60)
    os.kill(judge, signal.SIGCONT)
    service.until_all("role", "judge", "follower", "follower")


def test_workers_share_a_state_folder(start: Any, tmp_path: Path) -> None:
    service = start(limits={"cost_usd_per_day": 1.0}, STATE_DIR=str(tmp_path / "state"))
    service.ask()
    service.until_all("today", *[repr(service.spent())] * 3)
    assert wait_for((tmp_path / "state" / "budgets.json").exists)
    assert total(scrape(service.deployed.metrics_port), "anthropic_exporter_record_errors_total") == 0


def test_a_clock_that_is_set_forward_and_back_neither_forgets_the_budget_nor_sends_again(start: Any) -> None:
    now = time.time()
    noon = now // 86_400 * 86_400 + 43_200
    service = start(limits={"cost_usd_per_day": 1.0}, NOON=str(noon), STARTED=str(now))
    for _ in range(5):
        service.ask()
    spent = service.spent()
    service.until_all("today", *[repr(spent)] * 3)
    service.of_each("clock3600")
    service.until_all("today", *[repr(spent)] * 3)
    service.spend_all()
    service.until_all("", *["stopped by daily_cost"] * 3)
    spent = service.spent()
    assert spent >= 1.0
    service.of_each("clock-3600")
    service.until_all("today", *[repr(spent)] * 3)
    service.until_all("", *["stopped by daily_cost"] * 3)
    judge = service.judge()
    os.kill(judge, signal.SIGKILL)  # its successor has a clock of its own, an hour ahead
    wait_for(lambda: "judge" in (found := service.of_each("role")).values() and judge not in found)
    service.until_all("today", *[repr(spent)] * 3)
    service.until_all("", *["stopped by daily_cost"] * 3)
    assert service.spent() == spent
    assert service.notifications() == [f"{DAILY} firing "]
    service.of_each("clock86400")  # the next day
    service.until_all("alerts", *["[]"] * 3)
    service.until_all("", *["answered"] * 3)
