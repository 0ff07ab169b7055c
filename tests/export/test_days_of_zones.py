"""The budget's day with `--utc-offset`, at ends of months and of a year and on a leap day, in promtool."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import toolchain
from anthropic_exporter.export import files
from anthropic_exporter.rules import Fit

pytestmark = pytest.mark.stack
#: The first seconds of local days, and of the days that end there.
MIDNIGHTS = ((1972, 2, 29), (1972, 3, 1), (1973, 1, 1), (1973, 3, 1), (1973, 5, 1))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def expressions(offset: int) -> tuple[str, str, str]:
    """Day, month, and days that are left in the month, as the rules of this offset have them."""
    text = files(Fit(utc_offset_minutes=offset))["rules/budget.yml"]
    left = re.search(r"\((days_in_month\(.*)\)\n", text)
    found = [set(re.findall(rf'count_values\("{name}", .*\)', text)) for name in ("day", "month")]
    assert left is not None
    assert [len(one) for one in found] == [1, 1]
    (day,), (month,) = found
    return day, month, left[1]


def asked(moment: dt.datetime, offset: int) -> list[dict[str, Any]]:
    """What the rules have to find at a moment of this zone."""
    day, month, left = expressions(offset)
    local = moment.astimezone(dt.timezone(dt.timedelta(minutes=offset)))
    midnight = local.replace(hour=0, minute=0, second=0)
    days = (local.date() - EPOCH.date()).days
    next_month = (midnight.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    values = (
        (day, f'{{day="{days}"}}', 1.0),
        (month, f'{{month="{12 * local.year + local.month}"}}', 1.0),
        (f"round(86400 * ({left}))", "{}", (next_month - local).total_seconds()),
    )
    at = f"{int((moment - EPOCH).total_seconds())}s"
    return [
        {"eval_time": at, "expr": expression, "exp_samples": [{"labels": labels, "value": value}]}
        for expression, labels, value in values
    ]


@pytest.mark.parametrize("offset", [345, -720, 840, -210, 0])
def test_days_and_months_begin_at_the_midnight_of_the_zone(tmp_path: Path, offset: int) -> None:
    zone = dt.timezone(dt.timedelta(minutes=offset))
    begins = [dt.datetime(*one, tzinfo=zone) for one in MIDNIGHTS]
    moments = [
        moment for one in begins for moment in (one - dt.timedelta(seconds=1), one, one + dt.timedelta(seconds=1))
    ]
    tests = [{"interval": "1d", "promql_expr_test": [one for moment in moments for one in asked(moment, offset)]}]
    (tmp_path / "test.yml").write_text(json.dumps({"evaluation_interval": "1d", "tests": tests}))
    promtool = toolchain.provide(["promtool"])["promtool"]
    command: list[Any] = [promtool, "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
