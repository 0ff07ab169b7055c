"""Writes the README's tables of metrics and alerts from the code and the rules. `--check` fails where they drifted."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from anthropic_exporter.metrics.families import FAMILIES, Family

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SEVERITIES = ("critical", "warning", "info", "none")


def main() -> int:
    """Write the tables, or with `--check` compare them."""
    before = README.read_text(encoding="utf-8")
    after = before
    for name, table in (("metrics", metrics()), ("alerts", alerts())):
        after = filled(after, name, table)
    if sys.argv[1:] != ["--check"]:
        README.write_text(after, encoding="utf-8")
        return 0
    if before == after:
        return 0
    print("README.md: the tables are not what scripts/generate_readme.py writes; run `make generate`", file=sys.stderr)
    return 1


def filled(text: str, name: str, table: list[str]) -> str:
    """The text with the table between its two marks."""
    begin, end = f"<!-- begin generated: {name} -->\n", f"<!-- end generated: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"README.md: the marks of the table {name} are missing: {begin.strip()} ... {end}")
    return pattern.sub(lambda _: begin + "\n".join(table) + "\n" + end, text)


def metrics() -> list[str]:
    """One row a family."""
    rows = [f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {meaning(one)} |" for one in FAMILIES]
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


if __name__ == "__main__":
    sys.exit(main())
