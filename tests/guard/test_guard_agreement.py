"""The Guard and the shipped rules, evaluated by promtool, say the same of the same calls."""

from __future__ import annotations

from typing import Any

import pytest
from bench.detection import incidents
from bench.guard import guard_agreement, guard_incidents

from rules.promtool_tests import RARE_GARBAGE_COLLECTION

TELLING = [one for one in incidents.INCIDENTS if not guard_incidents.METER & set(one.told_by)]


@pytest.mark.stack
@pytest.mark.parametrize("incident", TELLING, ids=lambda incident: incident.name)
def test_both_fire_the_same_alerts_and_the_guard_not_after_the_rules(
    incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in RARE_GARBAGE_COLLECTION.items():
        monkeypatch.setenv(name, value)
    played, fired = guard_agreement.play(incident)
    assert played.told == fired.keys() - guard_agreement.RULES_ALONE
    # It looks every half second; of 30 s Prometheus 3 reads 25 or 20, since it leaves a range's first moment out.
    assert played.told_at <= min(fired.values()) + guard_incidents.STEP
    assert played.told_at < min(guard_agreement.sent(fired).values())


def test_a_warning_is_sent_later_than_it_fires_and_a_critical_alert_at_once() -> None:
    fired = {"AnthropicCostSpike": 10.0, "AnthropicCostRateHigh": 10.0, "AnthropicLatencyHigh": 10.0}
    sent = {"AnthropicCostSpike": 15.0, "AnthropicCostRateHigh": 10.0, "AnthropicLatencyHigh": 15.0}
    assert guard_agreement.sent(fired) == sent
