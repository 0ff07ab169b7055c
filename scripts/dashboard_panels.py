"""Panels of grafana/claude-cost.panels.yml in Grafana's classic JSON model: their queries and their looks."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "${datasource}"}
#: Four of these are the shortest window of a rate: 1 m, the window of the alerts.
MIN_STEP = "15s"

#: Between backticks PromQL has no escapes, so that what Grafana escapes for a regular expression stays as it is; its
#: default for Prometheus leaves a quotation mark of a feature's name as it is, which ends a quoted string.
_SELECTED = "feature=~`${feature:regex}`, model=~`${model:regex}`"
_THRESHOLD = "alert threshold"
_NONE = "(none)"


def panel(spec: Json, place: Json, colours: Json) -> Json:
    """One panel of the file, at its place, as Grafana has it."""
    kind = spec.get("type", "timeseries")
    common = {
        "type": kind,
        "title": spec["title"],
        "description": spec["description"],
        "gridPos": place,
    }
    if kind == "text":
        return common | {"options": {"mode": "markdown", "content": spec["text"]}}
    looks = {"stat": _stat, "bargauge": _bargauge, "table": _table}
    drawn = looks[kind](spec) if kind in looks else _timeseries(spec, colours)
    return common | {"datasource": PROMETHEUS, "targets": list(_targets(spec, kind))} | drawn


def _targets(spec: Json, kind: str) -> Iterator[Json]:
    for letter, query in _lettered(spec["queries"]):
        instant = kind in {"table", "bargauge"}
        yield {
            "refId": letter,
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": _expression(query, nameless=kind == "table"),
            "legendFormat": _legend(query),
            "interval": MIN_STEP,
            "instant": instant,
            "range": not instant,
            "format": "table" if kind == "table" else "time_series",
        }


def _lettered(queries: list[Json]) -> Iterator[tuple[str, Json]]:
    return zip(ascii_uppercase, queries, strict=False)


def _expression(query: Json, *, nameless: bool = False) -> str:
    """The PromQL of a query. The rows of a table join only if no query keeps the names of its metrics."""
    if "threshold" in query:
        return _threshold(query["threshold"], query.get("per", ["feature", "model"]))
    text: str = query["expr"].replace("$selected", _SELECTED)
    labels = query.get("by", ())
    if nameless and labels and not text.startswith("sum by"):
        text = f"sum by ({', '.join(labels)}) ({text})"
    for label in labels:
        text = f'label_replace({text}, "{label}", "{_NONE}", "{label}", "")'
    return text


def _threshold(name: str, per: list[str]) -> str:
    """The lowest threshold that holds for what is selected; the default while nothing has run."""
    default = f'max(anthropic_threshold{{threshold="{name}", feature="", model=""}})'
    if not per:
        return default
    selected = ", ".join(f"{label}=~`${{{label}:regex}}`" for label in per)
    return f"min({'_'.join(per)}:anthropic_{name}:threshold{{{selected}}}) or {default}"


def _legend(query: Json) -> str:
    if "threshold" in query:
        return f"{_THRESHOLD}, {query['of']}" if "of" in query else _THRESHOLD
    return query.get("legend") or " · ".join(f"{{{{{label}}}}}" for label in query.get("by", ()))


def _timeseries(spec: Json, colours: Json) -> Json:
    stacked = spec.get("stack", False)
    custom = {
        "drawStyle": "line",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 55 if stacked else 6,
        "showPoints": "never",
        "spanNulls": 60_000,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
    } | ({"axisSoftMax": spec["soft_max"]} if "soft_max" in spec else {})
    defaults = _units(spec) | {"color": {"mode": "palette-classic"}, "min": 0, "custom": custom}
    placement = spec.get("legend", "bottom")
    legend_options = {"displayMode": "list", "placement": placement, "showLegend": True, "calcs": []}
    return {
        "fieldConfig": {"defaults": defaults, "overrides": [*_fixed_colours(spec, colours), *_threshold_lines(spec)]},
        "options": {"legend": legend_options, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _fixed_colours(spec: Json, colours: Json) -> list[Json]:
    fixed: dict[str, str] = {}
    for query in spec["queries"]:
        for label in query.get("by", ()):
            fixed |= {_NONE: "#8e8e8e"} | colours.get(label, {})
        if query.get("legend") in colours["legend"]:
            fixed[query["legend"]] = colours["legend"][query["legend"]]
    return [_override(name, {"color": {"mode": "fixed", "fixedColor": colour}}) for name, colour in fixed.items()]


def _threshold_lines(spec: Json) -> list[Json]:
    names = [_legend(query) for query in spec["queries"] if "threshold" in query]
    return [
        _override(name, _threshold_looks(colour))
        for name, colour in zip(reversed(names), ("red", "orange"), strict=False)
    ]


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
    columns: Json = dict(spec["columns"])
    values = {f"Value #{letter}" if many else "Value": query["column"] for letter, query in _lettered(spec["queries"])}
    return columns | values


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


def _sorted_by(sort: Json) -> Json:
    order = {"field": sort["column"], "desc": sort.get("desc", False)}
    return {"id": "sortBy", "options": {"fields": {}, "sort": [order]}}


def _cell(column: Json) -> Json:
    """The properties of one column: unit, width, a bar, colours by value or by word."""
    properties: Json = {"noValue": "-"} | {key: column[key] for key in ("unit", "decimals") if key in column}
    if "width" in column:
        properties["custom.width"] = column["width"]
    if "bar" in column:
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        properties["color"] = {"mode": "fixed", "fixedColor": "blue"}
        properties |= {"min": 0, "fieldMinMax": True}
    if "steps" in column:
        properties["custom.cellOptions"] = {"type": "color-text"}
        properties["thresholds"] = _thresholds(column["steps"])
    if "words" in column:
        properties["custom.cellOptions"] = {"type": "color-text"}
        words = {str(key): {"text": text, "color": colour} for key, (text, colour) in column["words"].items()}
        properties["mappings"] = [{"type": "value", "options": words}]
    return properties
