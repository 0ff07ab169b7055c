"""The dashboard's queries as Grafana asks them of a Prometheus, with a feature and a model chosen at the top."""

from __future__ import annotations

import json
import re
from pathlib import Path

DASHBOARD = Path(__file__).resolve().parents[2] / "grafana" / "dashboards" / "claude-cost.json"
ALL = ".*"
#: What `${name:regex}` escapes: `escapeRegex` in packages/grafana-data/src/text/string.ts of Grafana, read 2026-11-30.
_SPECIAL = re.compile(r"[\\^$*+?.()|[\]{}/]")


def chosen(*names: str) -> str:
    """What stands for `${feature:regex}` with these features chosen."""
    escaped = [_SPECIAL.sub(r"\\\g<0>", name) for name in names]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def queries(
    feature: str = ALL, model: str = ALL, *, window: str = "1m", span: str = "1h", dashboard: Path = DASHBOARD
) -> dict[str, list[str]]:
    """The expressions of each panel, by title; of panels with one title, of all of them."""
    values = {
        "${feature:regex}": feature,
        "${model:regex}": model,
        "$__rate_interval": window,
        "$__range": span,
    }
    found: dict[str, list[str]] = {}
    for panel in json.loads(dashboard.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            found.setdefault(panel["title"], []).append(expression)
    return found
