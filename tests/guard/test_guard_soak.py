"""A twentieth of `bench/guard/guard_soak.py`: threads and asyncio mixed, over two simulated hours of each pace."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from bench.guard import guard_soak


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came out, in a process of its own: the memory of this one is that of other tests too.

    It has a runtime folder of its own as well: a spawned process counts together with the one that started it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("soak")))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            return process.submit(guard_soak.soak, 50_000, step=15).result()


def test_fifty_thousand_calls_leave_memory_flat_totals_exact_and_no_alert_lost(found: Any) -> None:
    assert found.calls == 50_000
    assert found.lost_tokens == 0
    assert found.lost_usd == pytest.approx(0, abs=1e-9)
    assert found.incidents == found.told == found.ended == 3
    assert found.callbacks == {"ok": 6}
    assert found.objects[1] - found.objects[0] < 500
    assert found.memory_kb[1] - found.memory_kb[0] < 2_000
