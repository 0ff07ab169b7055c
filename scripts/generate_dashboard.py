"""Turn grafana/claude-cost.panels.yml into the dashboard that Grafana loads.

usage: python scripts/generate_dashboard.py [--check]

`--check` writes nothing and exits 1 when the committed dashboard is not what the panels file says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from dashboard_panels import MIN_STEP, PROMETHEUS, Json, panel

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).resolve().parent.parent / "grafana"
SOURCE = GRAFANA / "claude-cost.panels.yml"
TARGET = GRAFANA / "dashboards" / "claude-cost.json"

COLUMNS = 24


def generate(source: Json) -> Json:
    """The dashboard, in Grafana's classic JSON model."""
    return {
        "uid": source["uid"],
        "title": source["title"],
        "description": source["description"],
        "tags": source["tags"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_alert_annotation()]},
        "templating": {"list": _variables()},
        "panels": list(_panels(source["rows"], source["colours"])),
    }


def _alert_annotation() -> Json:
    return {
        "name": "Alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": "red",
        "expr": 'max by (alertname, feature) (ALERTS{alertstate="firing", severity="critical"})',
        "step": MIN_STEP,
        "titleFormat": "{{alertname}} {{feature}}",
    }


def _variables() -> list[Json]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _label_variable("feature", "anthropic_requests_total"),
        _label_variable("model", "anthropic_requests_total{feature=~`${feature:regex}`}"),
    ]


def _label_variable(label: str, metric: str) -> Json:
    query = f"label_values({metric}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: list[Json], colours: Json) -> Iterator[Json]:
    """Rows one below the other, the panels of each under it; ids count up."""
    top, number = 0, 1
    for row in rows:
        yield _row_header(row, number, top)
        top += 1
        height = 0
        for place, spec in _flow(row["panels"]):
            number += 1
            yield {"id": number} | panel(spec, {**place, "y": place["y"] + top}, colours)
            height = max(height, place["y"] + place["h"])
        top += height
        number += 1


def _row_header(row: Json, number: int, top: int) -> Json:
    place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": row["title"], "collapsed": False, "gridPos": place, "panels": []}


def _flow(specs: list[Json]) -> Iterator[tuple[dict[str, int], Json]]:
    """Places from left to right, a new line when one is full; `at` is relative to the line's start."""
    x = y = line = 0
    for spec in specs:
        width, height = spec["size"]
        if "at" in spec:
            column, down = spec["at"]
            yield {"x": column, "y": y + down, "w": width, "h": height}, spec
            line = max(line, down + height)
            continue
        if x + width > COLUMNS:
            x, y, line = 0, y + line, 0
        yield {"x": x, "y": y, "w": width, "h": height}, spec
        x, line = x + width, max(line, height)


def main() -> int:
    """Write the dashboard, or with `--check` only compare."""
    text = json.dumps(generate(yaml.safe_load(SOURCE.read_text())), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() == text:
            return 0
        print(f"{TARGET} is not what {SOURCE} says: run python scripts/generate_dashboard.py", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
