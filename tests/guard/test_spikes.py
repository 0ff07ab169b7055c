"""More than usual: the pace without what chance brings, and answers that became long; by hand-made windows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anthropic_exporter.call import Bill
from anthropic_exporter.guard import Limits
from anthropic_exporter.guard.anomalies import Measure
from anthropic_exporter.guard.measuring.levels import Sums
from anthropic_exporter.guard.measuring.spikes import Usual, of_feature
from anthropic_exporter.guard.measuring.windows import Windows
from support import MODEL

SECOND = 1_000
USUAL = Usual(cost_usd=0.1, tokens=10_000, requests=12, answer_tokens=1_000)
#: The ratio of answers is 4 here, so that the threshold is a bound of the histogram: 4,000 tokens.
LIMITS = Limits.shipped().replace(token_spike_ratio=4)


@pytest.fixture
def windows() -> Windows:
    return Windows(LIMITS)


@pytest.fixture
def answer(windows: Windows) -> Callable[..., None]:
    """So many answers of one kind at a second."""

    def record(
        count: int, *, second: int = SECOND, model: str = MODEL, prompt: int = 0, output: int = 0, usd: float = 0.0
    ) -> None:
        place = windows["chat", model]
        place.advance(second)
        for _ in range(count):
            place.count("success", 1, None, None)
            place.spend(Bill((), (), usd, "unasked"), 1, usd, prompt, 0, output)

    return record


@pytest.fixture
def measured(windows: Windows) -> Callable[..., dict[str, Measure]]:
    """What is measured, by the key of its condition."""

    def measure(usual: Usual = USUAL, second: float = SECOND, limits: Limits = LIMITS) -> dict[str, Measure]:
        sums = [Sums(place, second) for place in windows.places()]
        return {one.condition.key: one for one in of_feature("chat", sums, usual, limits)}

    return measure


def test_four_answers_in_ten_above_the_usual_length_are_reported(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(6, output=300, prompt=1_000)
    answer(4, output=5_000, prompt=1_000)
    measure = measured()["token_spike"]
    assert measure.holds
    assert (measure.condition.alertname, measure.scope, measure.feature) == ("AnthropicTokenSpike", "feature", "chat")
    assert measure.threshold == 4_000
    assert measure.value == pytest.approx(5_000)  # promtool: histogram_quantile(0.8, 6 and 5 below, 4 up to 8,000)
    assert measure.condition.window == "over 30 s"


def test_one_in_five_with_five_short_ones_added_is_just_not_enough(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(7, output=300, prompt=1_000)
    answer(3, output=5_000, prompt=1_000)
    assert not measured()["token_spike"].holds


def test_nine_answers_say_nothing(answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]) -> None:
    answer(9, output=5_000, prompt=1_000)
    assert measured() == {}


def test_answers_on_several_models_are_those_of_one_feature(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(6, output=300, prompt=1_000)
    answer(4, output=5_000, prompt=1_000, model="claude-haiku-5-5")
    assert measured()["token_spike"].holds


def test_long_answers_below_the_minimum_rate_do_not_alert(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(6, output=300)
    answer(4, output=5_000)  # 43,600 tokens a minute
    assert measured(limits=LIMITS.replace(token_spike_min_tokens_per_minute=43_600)) == {}
    assert measured(limits=LIMITS.replace(token_spike_min_tokens_per_minute=43_599))["token_spike"].holds


def test_long_answers_are_over_when_they_left_the_30_seconds(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(6, output=300, prompt=1_000)
    answer(4, output=5_000, prompt=1_000)
    assert measured(second=SECOND + 30)["token_spike"].holds
    assert measured(second=SECOND + 31) == {}


def test_no_answer_is_long_without_a_baseline(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(10, output=100_000, prompt=1_000)
    assert not measured(Usual(cost_usd=0.1, tokens=10_000, requests=12))["token_spike"].holds


def test_batches_and_what_is_not_a_request_have_no_answers(
    windows: Windows, measured: Callable[..., dict[str, Measure]]
) -> None:
    place = windows["chat", MODEL]
    place.advance(SECOND)
    for _ in range(10):
        place.count("success", 1, None, None)
        place.spend(Bill((), (), 0.0, "unasked"), 0, 0.0, 1_000, 0, 50_000)
    assert measured() == {}


def test_two_standard_deviations_may_be_chance(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    """Six in 30 s are usual; of 25, 15 did not come by chance: three fifths of the pace."""
    limits = LIMITS.replace(token_spike_ratio=3)
    answer(25, prompt=1_000)
    assert measured(limits=limits)["token_spike"][4:6] == pytest.approx((50_000, 50_000))  # 3 * 10,000 / 0.6
    assert not measured(limits=limits)["token_spike"].holds
    answer(1, prompt=0)  # one more that is in part sure: 15.8 of 26
    assert measured(limits=limits)["token_spike"].holds


def test_of_dollars_they_are_left_out_too(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(25, usd=0.0104)  # the largest one left out: 0.4992 dollars a minute
    assert measured()["cost_spike"].threshold == pytest.approx(0.5)
    assert not measured()["cost_spike"].holds
    answer(1, usd=0.0104)
    assert measured()["cost_spike"].threshold == pytest.approx(0.49361, abs=1e-5)  # 0.3 / (15.802 / 26)
    assert measured()["cost_spike"].holds


@pytest.mark.parametrize(
    ("usual_requests", "threshold"),
    [(12, 54_270.51), (22, 54_270.51), (32, 37_500), (40, 30_000), (400, 30_000), (float("inf"), 30_000)],
)
def test_no_request_within_the_usual_number_is_chance(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]], usual_requests: float, threshold: float
) -> None:
    answer(20, prompt=1_000)
    found = measured(USUAL._replace(requests=usual_requests), limits=LIMITS.replace(token_spike_ratio=3))
    assert found["token_spike"].threshold == pytest.approx(threshold)


def test_over_five_minutes_the_usual_number_is_ten_times_that_of_30_s(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(1, prompt=1_000)
    answer(19, second=SECOND + 60, prompt=1_000)
    usual = USUAL._replace(requests=3.4)  # 17 in five minutes
    found = measured(usual, second=SECOND + 60, limits=LIMITS.replace(token_spike_ratio=3))
    assert found["token_spike"].threshold == pytest.approx(30_000 / 0.85)
    assert found["token_spike"].value == pytest.approx(4_000)


def test_a_rate_is_that_of_the_time_that_was_observed(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    """Half a second after a second began, the window of 30 s is half a second longer; that of 5 minutes up to ten."""
    answer(20, prompt=1_000)
    assert measured(second=SECOND + 0.5)["token_spike"].value == pytest.approx(20_000 * 60 / 30.5)
    assert measured(second=SECOND + 49.5)["token_spike"].value == pytest.approx(20_000 * 60 / 309.5)


def test_nineteen_requests_are_not_a_rate(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    answer(19, prompt=100_000, usd=1.0)
    assert "cost_spike" not in measured()


def test_an_alert_shows_the_reading_that_holds(
    answer: Callable[..., None], measured: Callable[..., dict[str, Measure]]
) -> None:
    """Twenty answers are a pace: it is below its threshold, their length is not."""
    answer(14, output=300, prompt=100)
    answer(6, output=5_000, prompt=100)
    found = measured(USUAL._replace(tokens=100_000))["token_spike"]
    assert found.holds
    assert found.threshold == 4_000
