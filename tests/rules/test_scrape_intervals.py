"""What a pace of one steady process is with other scrape intervals than the usual ones: docs/existing-prometheus.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from anthropic_exporter.rules import Fit, generate, settings

PACE = "feature_model:anthropic_cost_usd_per_minute:rate"
EXPECTED = {  # least and most of the fast pace, and of the slow one, of a process that spends 60 dollars a minute
    15: (60, 60, 60, 60),
    40: (60, 60, 56, 64),
    45: (60, 60, 54, 63),
    59: (59, 88.5, 59, 70.8),
}


def paces(fit: Fit) -> dict[str, list[dict[str, object]]]:
    """The ledger, and the two paces of dollars."""
    texts = generate(fit)
    (ledger,) = yaml.safe_load(texts["ledger.yml"])["groups"]
    cost = [rule for group in yaml.safe_load(texts["cost.yml"])["groups"] for rule in group["rules"]]
    own = [rule for rule in cost if str(rule.get("record", "")).startswith(PACE)]
    return {"groups": [ledger, {"name": "paces", "interval": ledger["interval"], "rules": own}]}


@pytest.mark.parametrize("seconds", EXPECTED)
def test_the_pace_of_a_steady_process_is_off_by_no_more_than_one_scrape(
    promtool: Path, tmp_path: Path, seconds: int
) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(paces(Fit(scrape_interval=seconds))), encoding="utf-8")
    own = 'life="a", feature="f", model="m"'
    values = {
        'anthropic_exporter_start_timestamp_seconds{life="a"}': "0x400",
        'anthropic_exporter_age_seconds{life="a"}': f"0+{seconds}x400",
        f'anthropic_ledger_total{{{own}, of="cost_usd", tier="standard"}}': f"0+{seconds}x400",
    }
    asked = [(f"{one}_over_time", window) for window in ("fast", "slow") for one in ("min", "max")]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": settings.windows(seconds)["step"],
        "group_eval_order": ["anthropic-ledger", "paces"],
        "tests": [
            {
                "interval": f"{seconds}s",
                "input_series": [{"series": name, "values": text} for name, text in values.items()],
                "promql_expr_test": [
                    {
                        "expr": f"round({function}({PACE}_{window}[1h]), 1e-6)",
                        "eval_time": "90m",
                        "exp_samples": [{"labels": '{feature="f", model="m"}', "value": value}],
                    }
                    for (function, window), value in zip(asked, EXPECTED[seconds], strict=True)
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test), encoding="utf-8")
    ran = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, re.sub(r"\s+", " ", ran.stdout + ran.stderr)


def test_evaluations_divide_the_scrape_interval_where_they_can() -> None:
    steps = {seconds: settings.seconds(settings.windows(seconds)["step"]) for seconds in settings.SCRAPE_INTERVALS}
    assert {seconds: steps[seconds] for seconds in (5, 10, 15, 20, 30, 60)} == {
        5: 5, 10: 5, 15: 5, 20: 10, 30: 10, 60: 15,
    }  # fmt: skip
    unfit = [seconds for seconds, step in steps.items() if seconds % step]
    assert unfit == [7, 11, 13, 17, 19, 22, 23, 26, 29, 31, 34, 37, 38, 41, 43, 46, 47, 51, 53, 57, 58, 59]
