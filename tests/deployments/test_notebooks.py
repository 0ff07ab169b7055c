"""A cell that is run again, in the kernel that notebooks run in."""

from __future__ import annotations

import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.applications import CELL
from deployments.running import needs
from host.workers import scrape, total
from ports import free_port

pytestmark = [needs("jupyter_client"), needs("ipykernel")]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Run a cell in a kernel; what it printed to its error stream, and its result."""
    from jupyter_client.manager import start_new_kernel  # noqa: PLC0415 - not installed everywhere

    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path))
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)

    def run(cell: Any) -> Any:
        said = []
        answer = client.execute_interactive(
            cell, timeout=120, output_hook=lambda message: said.append(message["content"].get("text", ""))
        )
        assert answer["content"]["status"] == "ok", said
        return "".join(said)

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("default")  # of jupyter_client
def test_a_cell_that_is_run_again_continues_its_counters(run: Any) -> None:
    port = free_port()
    cell = textwrap.dedent(CELL.format(port=port))
    run(cell.replace(", live=True", ""))
    assert total(scrape(port)) == 1
    for calls in (2, 3):
        run(cell)
        assert total(scrape(port)) == calls
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=10) as page:
        assert page.status == 200
    assert run("print(handle.holds_port)") == "True\n"
    assert 'anthropic_exporter_workers{state="lost"}' not in scrape(port)
