"""Turn grafana/claude-cost.panels.yml into the dashboard that Grafana loads.

usage: python scripts/generate_dashboard.py [--check]

`--check` writes nothing and exits 1 when the committed dashboard is not what the panels file says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).resolve().parent.parent / "grafana"
SOURCE = GRAFANA / "claude-cost.panels.yml"
TARGET = GRAFANA / "dashboards" / "claude-cost.json"

Json = dict[str, Any]

COLUMNS = 24
PROMETHEUS: Json = {"type": "prometheus", "uid": "${datasource}"}
SELECTED = 'feature=~"$feature", model=~"$model"'
THRESHOLD = "alert threshold"
#: Four of these are the shortest window of a rate: 1 m, the window of the alerts.
MIN_STEP = "15s"

#: The same thing has the same colour on every panel.
COLOURS = {
    "input": "orange",
    "cache_read": "green",
    "cache_write_5m": "blue",
    "cache_write_1h": "dark-blue",
    "output": "purple",
    "web_search": "yellow",
    "hit": "green",
    "miss": "red",
    "ineligible": "yellow",
    "unasked": "#8e8e8e",
    "success": "green",
    "abandoned": "#8e8e8e",
    "overloaded_error": "orange",
    "rate_limit_error": "red",
    "timeout": "purple",
    "connection_error": "blue",
    "p50": "blue",
    "p95": "orange",
    "saved by reads": "green",
    "premium for writes": "orange",
    "(none)": "#8e8e8e",
}


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
        "panels": list(_panels(source["rows"])),
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
        _label_variable("model", 'anthropic_requests_total{feature=~"$feature"}'),
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


def _panels(rows: list[Json]) -> Iterator[Json]:
    """Rows one below the other, the panels of each under it; ids count up."""
    top, number = 0, 1
    for row in rows:
        yield _row_header(row, number, top)
        top += 1
        height = 0
        for place, spec in _flow(row["panels"]):
            number += 1
            yield _panel(spec, number, {**place, "y": place["y"] + top})
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


def _panel(spec: Json, number: int, place: dict[str, int]) -> Json:
    kind = spec.get("type", "timeseries")
    common = {
        "id": number,
        "type": kind,
        "title": spec["title"],
        "description": spec["description"],
        "gridPos": place,
    }
    if kind == "text":
        return common | {"options": {"mode": "markdown", "content": spec["text"]}}
    looks = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bargauge, "table": _table}[kind](spec)
    return common | {"datasource": PROMETHEUS, "targets": list(_targets(spec, kind))} | looks


def _targets(spec: Json, kind: str) -> Iterator[Json]:
    for letter, query in _lettered(spec["queries"]):
        instant = kind in {"table", "bargauge"}
        yield {
            "refId": letter,
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": _expression(query),
            "legendFormat": _legend(query),
            "interval": MIN_STEP,
            "instant": instant,
            "range": not instant,
            "format": "table" if kind == "table" else "time_series",
        }


def _lettered(queries: list[Json]) -> Iterator[tuple[str, Json]]:
    return zip(ascii_uppercase, queries, strict=False)


def _expression(query: Json) -> str:
    if "threshold" in query:
        return _threshold(query["threshold"], query.get("per", ["feature", "model"]))
    text = query["expr"].replace("$selected", SELECTED)
    for label in query.get("by", ()):
        text = f'label_replace({text}, "{label}", "(none)", "{label}", "")'
    return text


def _threshold(name: str, per: list[str]) -> str:
    """The lowest threshold that holds for what is selected; the default while nothing has run."""
    default = f'max(anthropic_threshold{{threshold="{name}", feature="", model=""}})'
    if not per:
        return default
    selected = ", ".join(f'{label}=~"${label}"' for label in per)
    return f"min({'_'.join(per)}:anthropic_{name}:threshold{{{selected}}}) or {default}"


def _legend(query: Json) -> str:
    if "threshold" in query:
        return f"{THRESHOLD}, {query['of']}" if "of" in query else THRESHOLD
    return query.get("legend") or " · ".join(f"{{{{{label}}}}}" for label in query.get("by", ()))


def _timeseries(spec: Json) -> Json:
    stacked = spec.get("stack", False)
    custom = {
        "drawStyle": "line",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 55 if stacked else 6,
        "showPoints": "never",
        "spanNulls": 60_000,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
    }
    defaults = _units(spec) | {"color": {"mode": "palette-classic"}, "min": 0, "custom": custom}
    placement = spec.get("legend", "bottom")
    legend_options = {"displayMode": "list", "placement": placement, "showLegend": True, "calcs": []}
    return {
        "fieldConfig": {"defaults": defaults, "overrides": [*_fixed_colours(), *_threshold_lines(spec)]},
        "options": {"legend": legend_options, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _fixed_colours() -> list[Json]:
    return [_override(name, {"color": {"mode": "fixed", "fixedColor": colour}}) for name, colour in COLOURS.items()]


def _threshold_lines(spec: Json) -> list[Json]:
    names = [_legend(query) for query in spec["queries"] if "threshold" in query]
    return [_override(name, _threshold_looks(colour)) for name, colour in zip(names, ("red", "orange"), strict=False)]


def _threshold_looks(colour: str) -> Json:
    return {
        "color": {"mode": "fixed", "fixedColor": colour},
        "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
        "custom.lineWidth": 2,
        "custom.fillOpacity": 0,
        "custom.stacking": {"mode": "none", "group": "B"},
    }


def _override(name: str, properties: Json) -> Json:
    pairs = [{"id": key, "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": pairs}


def _units(spec: Json) -> Json:
    wanted = ("unit", "decimals", "max")
    return {key: spec[key] for key in wanted if key in spec} | {"noValue": spec.get("empty", "No data")}


def _thresholds(steps: dict[float, str]) -> Json:
    """`steps` by their lower bound; the lowest holds from minus infinity."""
    values = [{"value": None if i == 0 else bound, "color": colour} for i, (bound, colour) in enumerate(steps.items())]
    return {"mode": "absolute", "steps": values}


def _stat(spec: Json) -> Json:
    steps = spec.get("steps", {0: "text"})
    defaults = _units(spec) | {"color": {"mode": "thresholds"}, "thresholds": _thresholds(steps)}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none" if spec.get("plain") else "area",
        "justifyMode": "auto",
        "textMode": "value",
    }
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def _bargauge(spec: Json) -> Json:
    defaults = _units(spec) | {"color": {"mode": "fixed", "fixedColor": "blue"}, "min": 0}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "text",
        "showUnfilled": False,
        "namePlacement": "left",
        "minVizHeight": 16,
        "sizing": "auto",
        "text": {"titleSize": 14, "valueSize": 16},
    }
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def _columns_of(spec: Json) -> Json:
    """The table's columns by the name that Grafana gives them: its labels, then one value for each query."""
    many = len(spec["queries"]) > 1
    values = {f"Value #{letter}" if many else "Value": query["column"] for letter, query in _lettered(spec["queries"])}
    return spec["columns"] | values


def _table(spec: Json) -> Json:
    columns = _columns_of(spec)
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {source: position for position, source in enumerate(columns)},
        "renameByName": {source: column["name"] for source, column in columns.items()},
    }
    merge = [{"id": "merge", "options": {}}] if len(spec["queries"]) > 1 else []
    return {
        "transformations": [*merge, {"id": "organize", "options": organize}, _sorted_by(spec["sort"])],
        "fieldConfig": {
            "defaults": _units(spec) | {"custom": {"align": "auto"}},
            "overrides": [_override(column["name"], _cell(column)) for column in columns.values()],
        },
        "options": {"showHeader": True, "cellHeight": "sm"},
    }


def _sorted_by(column: str) -> Json:
    return {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": column, "desc": True}]}}


def _cell(column: Json) -> Json:
    """The properties of one column: unit, width, a bar, colours by value or by word."""
    properties: Json = {key: column[key] for key in ("unit", "decimals") if key in column}
    if "width" in column:
        properties["custom.width"] = column["width"]
    if "bar" in column:
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        properties["color"] = {"mode": "fixed", "fixedColor": "blue"}
        properties |= {"min": 0, "fieldMinMax": True}
    if "steps" in column:
        properties["custom.cellOptions"] = {"type": "color-text"}
        properties["thresholds"] = _thresholds(column["steps"])
    if "map" in column:
        properties["custom.cellOptions"] = {"type": "color-text"}
        words = {word: {"color": colour, "index": index} for index, (word, colour) in enumerate(column["map"].items())}
        properties["mappings"] = [{"type": "value", "options": words}]
    return properties


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
