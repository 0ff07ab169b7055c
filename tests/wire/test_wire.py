"""Recorded responses through the real SDK and a real socket, read back from the text of /metrics.

Every counter that is not 0 is compared, not only those a case is about: nothing else may have been counted.
"""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest
import yaml

from anthropic_exporter import Recorder, attribution, serve
from anthropic_exporter.simulator.fake_api import FakeApi
from wire import independent, wire_case, wire_player

CASES = wire_case.load_all()
PRICES = yaml.safe_load((wire_case.CASES.parents[2] / "exporter/anthropic_exporter/pricing/prices.yml").read_text())
ESTIMATED = "anthropic_exporter_estimated_tokens_total"
#: The coarse counters of the rules repeat the others; `tests/metrics/test_ledger.py` is about them.
LEDGER = "anthropic_ledger_total"
MONEY = "_usd_total"


PLAYS = [
    pytest.param(case, mode, id=f"{name}-{mode}")
    for name, case in CASES.items()
    for mode in case.get("modes", ("sync", "async"))
]


@pytest.fixture(scope="session")
def closing() -> Iterator[ThreadPoolExecutor]:
    """Closes servers behind our back: each takes a moment to notice, and there are hundreds."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def scrape(recorder: Recorder, closing: ThreadPoolExecutor) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    server = serve(recorder, port=0)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return wire_case.samples(connection.getresponse().read().decode())
    finally:
        connection.close()
        closing.submit(server.close)


def played(
    case: dict[str, Any], mode: str, api: FakeApi, closing: ThreadPoolExecutor
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples of /metrics after a case was played."""
    recorder = Recorder(registry=None, clock=case["at"].timestamp)
    api.clear()
    api.push(*(wire_case.scripted(case, answer, api.base_url) for answer in case["answers"]))

    async def call() -> None:
        client = wire_player.make_client(case, mode, api.base_url, recorder.middleware())
        with attribution(**case.get("attribution", {})):
            await wire_player.play(client, case)
        await wire_player.done(client.close())

    asyncio.run(call())
    return scrape(recorder, closing)


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")  # the SDK, of models near their end
@pytest.mark.parametrize(("case", "mode"), PLAYS)
def test_metrics_hold_exactly_what_was_billed(
    case: dict[str, Any], mode: str, wire_api: FakeApi, closing: ThreadPoolExecutor
) -> None:
    expected = wire_case.samples(case["metrics"])
    before = len(wire_api.requests)
    found = played(case, mode, wire_api, closing)
    assert len(wire_api.requests) - before == len(case["answers"]), "every recorded answer was asked for"
    estimated = sum(value for (name, _), value in found.items() if name == ESTIMATED)
    aside = (ESTIMATED, LEDGER)
    counted = {key for key, value in found.items() if key[0].endswith("_total") and value and key[0] not in aside}
    assert {key: found.get(key) for key in expected.keys() | counted} == Expected(expected)
    low, high = case.get("estimated_tokens", (0, 0))
    assert low <= estimated <= high


class Expected(dict[Any, Any]):
    """Literals of a case: tokens and counts are equal exactly, dollars to 1e-9, absolute and relative."""

    def __eq__(self, found: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> bool:  # type: ignore[override]
        return found.keys() == self.keys() and all(same(key[0], found[key], value) for key, value in self.items())

    __hash__ = None


def same(name: str, found: float, expected: float) -> bool:
    if found is None or not name.endswith(MONEY):
        return found == expected
    return abs(found - expected) <= 1e-9 * min(1.0, expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_literals_are_what_an_independent_calculation_says(case: dict[str, Any]) -> None:
    prices = {key: float(value) for key, value in independent.lines(case).items()}
    families = {"anthropic_tokens_total", "anthropic_exporter_unpriced_tokens_total"}
    literals = wire_case.samples(case["metrics"]).items()
    assert {key: value for key, value in literals if key[0] in families or key[0].endswith(MONEY)} == prices


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_case_says_what_it_is_about_and_what_is_expected(case: dict[str, Any]) -> None:
    assert case["about"].endswith(".")
    assert case["call"] in wire_player.CALLS
    assert all(file.exists() for file in wire_case.files(case))
    assert len(wire_case.samples(case["metrics"])) == case["metrics"].count("\n")


def test_every_recorded_file_belongs_to_a_case() -> None:
    recorded = {file for file in wire_case.CASES.rglob("*") if file.is_file() and file.suffix != ".yml"}
    assert recorded == {file for case in CASES.values() for file in wire_case.files(case)}


def test_every_model_of_the_book_is_in_the_corpus_and_in_the_independent_list() -> None:
    billed = {one.get("priced_as", one["model"]) for case in CASES.values() for one in case["billed"]}
    assert PRICES["models"].keys() <= billed
    assert PRICES["models"].keys() == independent.LIST.keys()


def test_the_independent_calculation_shares_nothing_with_the_library() -> None:
    script = "import sys, independent; sys.exit(any(name.startswith('anthropic') for name in sys.modules))"
    folder = wire_case.CASES.parent
    assert subprocess.run([sys.executable, "-c", script], cwd=folder, check=False).returncode == 0


def test_the_independent_calculation_is_exact() -> None:
    case = {"billed": [{"model": "claude-haiku-5-5", "geo": "us", "cache_read": 1}]}
    found = independent.lines(independent.with_defaults(case))
    labels = {"model": "claude-haiku-5-5", "tier": "standard", "type": "cache_read"}
    assert found["anthropic_cost_usd_total", frozenset(labels.items())] == Fraction(11, 1_000_000_000)
