"""Rule files for Mimir and Grafana Cloud: one namespace a file, in groups of at most 20 rules.

Source: Mimir's `ruler_max_rules_per_rule_group` (default 20) and the file format of `mimirtool rules load`;
grafana.com/docs/mimir, configuration parameters and mimirtool, read 2026-11-30.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

MOST_RULES = 20


def namespace(name: str, text: str) -> str:
    """The rules of one file as a namespace. Rules keep their order within and across the groups."""
    import yaml  # noqa: PLC0415 - only an export needs it here

    groups = [part for group in yaml.safe_load(text)["groups"] for part in parts(group)]
    document = {"namespace": f"anthropic-{name.removesuffix('.yml')}", "groups": groups}
    return str(yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True))


def parts(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The group, split where it exceeds the limit; the parts are numbered in the order of evaluation."""
    rules = group.get("rules") or []
    chunks = [rules[at : at + MOST_RULES] for at in range(0, len(rules), MOST_RULES)]
    for number, chunk in zip(itertools.count(1), chunks):
        yield {**group, "name": group["name"] if len(chunks) == 1 else f"{group['name']}-{number}", "rules": chunk}
