"""1,000 simulated hosts of 700 changed cells a second: what the collector needs of a core. `[--quick]`.

`python -m bench.fleet.hosts`. The hosts' messages are made beforehand; the collector reads them from memory, merges,
saves its state to a real disk and serves scrapes, for as many seconds as it would take in real time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from anthropic_exporter.collector.collector import Collector
from anthropic_exporter.collector.state_file import CollectorFolder
from anthropic_exporter.transport.cells_message import CellsMessage, Definition, Layout, encode
from anthropic_exporter.transport.interface import Received

HOSTS, CELLS = 1_000, 700
SECONDS = 5 if "--quick" in sys.argv else 20
NOON = 1_795_262_400.0
TOKENS = Layout("anthropic_tokens_total", "counter", ("model", "feature", "user", "tier", "type"))
TYPES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
DEFINITIONS = tuple(
    Definition(
        number, TOKENS, (f"model-{number // 5 % 4}", f"feature-{number // 20}", "", "standard", TYPES[number % 5]), NOON
    )
    for number in range(CELLS)
)


def message(host: Any, second: Any) -> Any:
    return encode(
        CellsMessage(
            identity=f"host-{host}",
            epoch=1,
            sequence=second + 1,
            service="api",
            host=f"host-{host}",
            sent_at=time.time(),
            definitions=DEFINITIONS if second == 0 else (),
            numbers=array("I", range(CELLS)),
            values=array("d", [float((second + 1) * (number + 1)) for number in range(CELLS)]),
        )
    )


class Given:
    """A stream that holds one second of messages."""

    position = ""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def receive(self, most: Any, _seconds: Any) -> Any:
        found, self.messages = self.messages[:most], self.messages[most:]
        return [Received("1", one) for one in found]

    def acknowledge(self, tokens: Any) -> None:
        pass

    def close(self) -> None:
        pass


def main() -> None:
    stream = Given()
    with tempfile.TemporaryDirectory() as folder:
        held = CollectorFolder(Path(folder))
        held.take()
        collector = Collector(held, lambda _: stream)  # type: ignore[arg-type, return-value]
        spent, scrapes, bytes_a_message = [], [], 0
        for second in range(SECONDS + 1):
            stream.messages = [message(host, second) for host in range(HOSTS)]
            bytes_a_message = len(stream.messages[-1])
            began = time.process_time()
            while stream.messages:
                collector.step(0.0)
            if second:  # the first second defines everything
                spent.append(time.process_time() - began)
            if second % 5 == 0:
                began = time.process_time()
                page = collector.render()
                scrapes.append(time.process_time() - began)
        state = (Path(folder) / "collector.state").stat().st_size
        held.close()
    average = sum(spent) / len(spent)
    print(f"{HOSTS} messages of {CELLS} cells and {bytes_a_message} bytes: {average:.3f} s of CPU a second of traffic")
    print(f"  saving the state ({state / 1e6:.1f} MB) included; scraping {len(page) / 1e3:.0f} kB {max(scrapes):.3f} s")
    print(f"  {100 * (average + max(scrapes) / 5):.0f} % of a core with a scrape every 5 s")


if __name__ == "__main__":
    main()
