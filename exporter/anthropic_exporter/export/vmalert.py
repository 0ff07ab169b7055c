"""Files for vmalert and VictoriaMetrics.

Source: docs.victoriametrics.com/vmalert, and vmalert 1.79.5 itself, 2026-11-30.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from anthropic_exporter.rules import Fit
from anthropic_exporter.rules.vmalert import Group, generate, reads

_SCRAPE = """# Paste below scrape_configs of the file that -promscrape.config names. The second job is for vmalert's own
# metrics: whether rules fail and alerts are delivered.
- job_name: {job}
  scrape_interval: {interval}s
  static_configs:
    - targets: [127.0.0.1:9464]  # the processes that import the recorder
- job_name: vmalert
  scrape_interval: {interval}s
  static_configs:
    - targets: [127.0.0.1:8880]
"""
#: Growth over the time that a panel shows. Counters of a process begin at 0, whatever their first sample says.
_GROWTH = re.compile(
    r"anthropic_ledger:total\{(?P<selector>[^}]*(?:\$\{[^}]*\}[^}]*)*)\}"
    r" - \(anthropic_ledger:total\{.*? offset \$__range or 0 \* anthropic_ledger:total\{(?P=selector)\}\)"
)


class _Literal(str):
    """Text of several lines, which YAML shows as it is."""

    __slots__ = ()


def rule_files(fit: Fit) -> dict[str, str]:
    """The text of each rule file but the thresholds', by file name."""
    return {name: _written(groups) for name, groups in generate(fit).files.items()}


def left_out(fit: Fit, dashboard: str) -> list[str]:
    """What this form does not have: alerts, records without their level, and panels that stay empty, by title."""
    missing = generate(fit).left_out
    alerts = [name for name in missing if ":" not in name]
    records = sorted({name.partition(":")[2] for name in missing if ":" in name})
    return [*alerts, *records, *(f"panel {title!r}" for title in _empty_panels(json.loads(dashboard), missing))]


def dashboard(text: str) -> str:
    """The dashboard without reads of a counter that this form does not record."""
    return _GROWTH.sub(lambda found: f"increase_pure(anthropic_ledger_total{{{found['selector']}}}[$__range])", text)


def scrape_config(fit: Fit) -> str:
    """Scrape jobs for the processes that import the recorder, and for vmalert."""
    return _SCRAPE.format(job=fit.job_name, interval=fit.scrape_interval)


def _empty_panels(dashboard: dict[str, Any], missing: Sequence[str]) -> list[str]:
    gone = set(missing)
    return [
        panel["title"]
        for panel in dashboard["panels"]
        if any(read.name in gone for target in panel.get("targets", ()) for read in reads(target["expr"]))
    ]


def _written(groups: list[Group]) -> str:
    import yaml  # noqa: PLC0415 - only an export needs it here

    class Dumper(yaml.SafeDumper):
        """Writes expressions as people do."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - of the base class
            return True

    Dumper.add_representer(
        _Literal, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
    )
    shown = [{**group, "rules": [_readable(rule) for rule in group["rules"]]} for group in groups]
    return str(yaml.dump({"groups": shown}, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True))


def _readable(rule: dict[str, Any]) -> dict[str, Any]:
    expression = rule["expr"].strip()
    return {**rule, "expr": _Literal(expression + "\n") if "\n" in expression else expression}
