"""What the documentation promises is there: links, commands, metric names. Its code runs in `documentation/`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from anthropic_exporter.collector.families import COLLECTOR_FAMILIES
from anthropic_exporter.metrics.families import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("alertmanager/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)")
METRIC = re.compile(r"\banthropic_[a-z0-9_]+\b")
SUFFIXES = ("", "_bucket", "_sum", "_count", "_created")


def known_series() -> set[str]:
    families = {family.name + suffix for family in (*FAMILIES, *COLLECTOR_FAMILIES) for suffix in SUFFIXES}
    created = {f"{family.name.removesuffix('_total')}_created" for family in FAMILIES}
    rules = [yaml.safe_load(path.read_text()) for path in (ROOT / "prometheus/rules").glob("*.yml")]
    recorded = {rule.get("record", "") for document in rules for group in document["groups"] for rule in group["rules"]}
    return families | created | {part for name in recorded for part in name.split(":")} | {"anthropic_exporter"}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_metrics_exist(name: str) -> None:
    found = set(METRIC.findall((ROOT / name).read_text()))
    assert {one for one in found if not one.endswith("_")} - known_series() == set()


def test_make_commands_exist() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named - known == set()


def test_every_metric_of_the_bundle_is_one_that_exists() -> None:
    files = [*(ROOT / "prometheus").rglob("*.yml"), ROOT / "grafana/claude-cost.panels.yml"]
    named = {one for file in files for one in METRIC.findall(file.read_text())}
    assert named - known_series() == set()
