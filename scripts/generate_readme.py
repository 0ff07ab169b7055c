"""Writes the tables of metrics and alerts from the code and the rules. `--check` fails where they drifted."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from anthropic_exporter.collector.families import COLLECTOR_FAMILIES
from anthropic_exporter.metrics.families import FAMILIES, Family

ROOT = Path(__file__).resolve().parents[1]
SEVERITIES = ("critical", "warning", "info", "none")


def main() -> int:
    """Write the tables, or with `--check` compare them."""
    drifted = []
    for page, tables in TABLES.items():
        before = page.read_text(encoding="utf-8")
        after = before
        for name, table in tables.items():
            after = filled(after, page.name, name, table())
        if sys.argv[1:] != ["--check"]:
            page.write_text(after, encoding="utf-8")
        elif before != after:
            drifted.append(page.name)
    if drifted:
        names = ", ".join(drifted)
        print(
            f"{names}: the tables are not what scripts/generate_readme.py writes; run `make generate`", file=sys.stderr
        )
    return 1 if drifted else 0


def filled(text: str, page: str, name: str, table: list[str]) -> str:
    """The text with the table between its two marks."""
    begin, end = f"<!-- begin generated: {name} -->\n", f"<!-- end generated: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"{page}: the marks of the table {name} are missing: {begin.strip()} ... {end}")
    return pattern.sub(lambda _: begin + "\n".join(table) + "\n" + end, text)


def metrics(families: Iterable[Family] = FAMILIES) -> list[str]:
    """One row a family."""
    rows = [f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {meaning(one)} |" for one in families]
    return ["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows]


def meaning(family: Family) -> str:
    """The help text, and the bounds of a histogram."""
    return f"{family.help} Buckets: {' '.join(f'{b:g}' for b in family.buckets)}." if family.buckets else family.help


def alerts() -> list[str]:
    """One row an alert, most severe first."""
    found = sorted(rules(), key=lambda rule: (SEVERITIES.index(rule["labels"]["severity"]), rule["alert"]))
    rows = {row(rule): None for rule in found}
    return ["| alert | severity | what it says |", "|---|---|---|", *rows]


def row(rule: dict[str, Any]) -> str:
    """A row with a link to the runbook."""
    name = rule["alert"]
    return f"| [{name}](docs/runbooks/{name}.md) | {rule['labels']['severity']} | {rule['annotations']['summary']} |"


def rules() -> list[dict[str, Any]]:
    """Every alerting rule of the bundle."""
    files = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


TABLES: dict[Path, dict[str, Callable[[], list[str]]]] = {
    ROOT / "README.md": {"metrics": metrics, "alerts": alerts},
    ROOT / "docs" / "scale.md": {"collector": lambda: metrics(COLLECTOR_FAMILIES)},
}

if __name__ == "__main__":
    sys.exit(main())
