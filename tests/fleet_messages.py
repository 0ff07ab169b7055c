"""Publishers as tests need them: cumulative cells of a few series, numbered as each epoch likes."""

from __future__ import annotations

from array import array
from typing import Any

from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.transport.cells_message import CellsMessage, Definition, Layout
from support import NOON

REQUESTS = Layout("anthropic_requests_total", "counter", ("model", "feature", "user", "outcome"))
COST = Layout("anthropic_cost_usd_total", "counter", ("model", "feature", "user", "tier", "type"))
SPEED = Layout(
    "anthropic_output_tokens_per_second", "histogram", ("model",), (5, 10, 20, 40, 60, 80, 100, 150, 200, 300)
)
INFLIGHT = Layout("anthropic_inflight_requests", "gauge", ("model", "feature"))
MODEL = "claude-opus-5-5"


def requests(feature: str = "chat", user: str = "", outcome: str = "success", first: int = 0) -> Definition:
    return Definition(first, REQUESTS, (MODEL, feature, user, outcome), NOON)


def message(
    *definitions: Definition,
    identity: str = "one",
    epoch: int = 1,
    sequence: int = 1,
    cells: dict[int, float] | None = None,
    **fields: Any,
) -> CellsMessage:
    """One message; `cells` are values by number."""
    cells = {} if cells is None else cells
    given: dict[str, Any] = {"service": "api", "host": "host-1", "sent_at": NOON + sequence} | fields
    return CellsMessage(
        identity=identity,
        epoch=epoch,
        sequence=sequence,
        definitions=definitions,
        numbers=array("I", cells.keys()),
        values=array("d", cells.values()),
        **given,
    )


def total(fleet: Fleet, family: str, **labels: str) -> float:
    """The sum of the shown series with these labels; a histogram's count."""
    found = 0.0
    for one in fleet.series.stored.get(family, ()):
        target = fleet.series.targets[one.block]
        named = dict(zip(target.family.labels, one.labels, strict=True))
        if labels.items() <= named.items():
            cells = fleet.series.totals[target.start : target.start + one.end]
            found += sum(cells[:-1]) if target.family.buckets else cells[0]
    return found
