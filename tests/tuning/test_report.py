"""The weekly report: complete, escaped, and good to look at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.tuning import verdicts
from anthropic_exporter.tuning.advice.items import Item
from anthropic_exporter.tuning.firings import Firing
from anthropic_exporter.tuning.onset import Detection, summarise
from anthropic_exporter.tuning.report import bill, charts, page
from anthropic_exporter.tuning.report.spend import DAY_SECONDS, Spend
from anthropic_exporter.tuning.review import Review, Reviewed
from anthropic_exporter.tuning.saved import Savings

MONDAY = 1_795_392_000
EVIL = "<script>alert('x')</script> & $x^{"
FEATURES = {"support": 182.4, "agent": 90.1, "search": 41.7, "poll": 22.0, "": 12.5, "labels": 9.9, EVIL: 3.1}


def sample(**changes: Any) -> Any:
    """A week with everything in it."""
    week = [1.0, 1.05, 0.9, 1.1, 1.4, 0.2, 0.25]
    days = {
        (MONDAY + number * DAY_SECONDS, name): usd * share / sum(week)
        for name, usd in FEATURES.items()
        for number, share in enumerate(week)
    }
    models = {"claude-opus-5-5": 230.0, "claude-sonnet-5-5": 99.6, "claude-haiku-5-5": 32.1}
    spend = Spend(361.7, days, FEATURES, models)
    fields: dict[str, Any] = {
        "review": reviewed(),
        "spend": spend,
        "advice": advice(),
        "is_watched": True,
        "bill": BILL,
    }
    return page.Report(**fields | changes)


def reviewed() -> Any:
    alerts = [
        ("AnthropicCostRateHigh", "critical", "agent", 9, 3_700, 18.2, 22.0, "true", "loop in the planner"),
        ("AnthropicCacheMissRateHigh", "warning", "support", 33, 1_260, 6.4, 26.0, "true", ""),
        ("AnthropicCostSpike", "warning", EVIL, 58, 240, 0.8, 19.0, "false", EVIL),
        ("AnthropicDailyCostBudgetExceeded", "critical", "", 82, 21_600, None, None, "", ""),
    ]
    found = tuple(
        Reviewed(
            Firing(alert, severity, {"feature": feature}, at, at + seconds, cost_usd=usd),
            Detection(noticed, None if noticed is None else 3.0),
            verdict,
            note,
        )
        for alert, severity, feature, hour, seconds, usd, noticed, verdict, note in alerts
        for at in [MONDAY + hour * 3_600.0]
    )
    missed = (verdicts.missed(MONDAY + 300_000.0, "search", 4.2, "found on the bill"),)
    summary = summarise(one.detection for one in found)
    return Review(MONDAY, MONDAY + 7 * DAY_SECONDS, found, missed, summary, Savings(41.3, 212, 903.7), ())


def advice() -> Any:
    return [
        Item("uncached_prefix", "support", "claude-opus-5-5", 601.1, "Set cache_control.", "a x b", {"a": 7e6}, "docs"),
        Item("batch", EVIL, "claude-opus-5-5", 39.5, EVIL, EVIL, {EVIL: 1.0}, EVIL, EVIL),
    ]


BILL = {
    "recorded": {"tokens": 98_800_000.0, "usd": 361.7},
    "billed": {"tokens": 100_000_000.0, "usd": 365.2},
    "drift": True,
    "verdicts": [
        {"model": "claude-opus-5-5", "tier": "standard", "cause": "coverage", "heading": "calls not recorded"}
        | {"found": f"1,200,000 tokens. {EVIL}", "action": "Look for processes."},
        {"model": "m", "tier": "batch", "cause": "agrees", "heading": "agrees", "found": "", "action": ""},
    ],
}


def test_everything_is_on_the_page() -> None:
    shown = page.page(sample())
    for part in (
        *("361.70 USD", "25 s", "95 % within 29 s", "≥ 41.30 USD", "212 requests blocked", "601.10 USD"),
        *("Measured, at least", "Estimated, at most", "903.70 USD", "loop in the planner", "found on the bill"),
        *("98.8% of the billed tokens are recorded: 361.70 USD of 365.20 USD. There is drift", "calls not recorded"),
        *("Only you know", "no verdict", "67% of 3 judged were true", "Mon 23 Nov 00:00 to Mon 30 Nov 00:00 UTC"),
    ):
        assert part in shown, part


def test_nothing_of_others_is_markup_and_nothing_is_loaded() -> None:
    shown = page.page(sample())
    assert "<script" not in shown
    assert "<!--" not in shown
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; $x^{" in shown
    sources = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)\)|@import""", shown)
    assert {one or two for one, two in sources if not (one or two).startswith("#p")} == set()
    ids = re.findall(r'\bid="([^"]+)"', shown)
    assert len(ids) == len(set(ids))


def test_items_that_the_page_leaves_out_are_counted() -> None:
    items = [Item("model", "f", "m", 100.0 - number, "", "", {}, "") for number in range(12)]
    shown = page.page(sample(advice=items))
    assert shown.count("<li>") == 10
    # of 12 items the last two, 90 and 89
    assert "2 more, of 179.00 USD a month: see anthropic-exporter advise." in shown
    quiet = [one._replace(firing=one.firing._replace(severity="info"), verdict="") for one in reviewed().reviewed]
    shown = page.page(sample(review=reviewed()._replace(reviewed=tuple(quiet))))
    assert "Not listed, severity info: " in shown
    assert 'class="verdict' not in shown


def test_dollars_that_are_not_known_are_said() -> None:
    shown = page.page(sample(unpriced=["claude-unheard-of", EVIL]))
    assert "Not included, because they have no price: claude-unheard-of, &lt;script&gt;" in shown
    foreign = page.page(sample(bill=BILL | {"has_list_price": False, "currency": "EUR"}))
    assert "98.8% of the billed tokens are recorded. The bill has no list price in USD to compare." in foreign
    assert "365.20 USD" not in foreign


def test_an_empty_week_is_a_page_too() -> None:
    blank = Review(MONDAY, MONDAY + 7 * DAY_SECONDS, (), (), None, Savings(0.0, 0, 0.0), ())
    shown = page.page(sample(review=blank, spend=Spend(0.0, {}, {}, {}), advice=[], is_watched=False, bill=None))
    for part in ("Nothing was spent.", "No alert fired.", "Nothing to change.", "Recorder(advise=True)"):
        assert part in shown
    assert "Recorded and billed" not in shown


def test_many_features_are_summed_up_and_odd_names_are_shown() -> None:
    amounts = {f"feature-{number}": 100.0 - number for number in range(40)}
    shown = charts.dollars_by(amounts, 1, "Dollars")
    assert "feature-7" in shown
    assert "feature-8" not in shown
    assert "others" in shown
    assert charts.shown("a\x00\n" + 40 * "b") == "a??" + 22 * "b" + "…"
    assert "解析🙂" in charts.dollars_by({"解析🙂": 1.0, "$a$b_": 2.0}, 1, "Dollars")


def test_the_bill_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "bill.json"
    path.write_text(json.dumps(BILL))
    assert bill.read(path) == BILL


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recorded": 3}', json.dumps(BILL | {"drift": "no"}), "[" * 9_999])
def test_another_file_is_one_line(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "bill.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is not what `anthropic-exporter reconcile --json` prints"):
        bill.read(path)
