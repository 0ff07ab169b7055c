from __future__ import annotations

import datetime as dt

import pytest

from anthropic_exporter import price_file
from anthropic_exporter.errors import ConfigurationError

PRICES = "{input: 1, cache_read: 0.1, cache_write_5m: 1.25, cache_write_1h: 2, output: 5}"


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "prices.yml"
        path.write_text(text)
        return path

    return make


def test_every_shipped_row_says_where_and_when_it_was_read():
    for model in price_file.shipped().models.values():
        assert model.source, model.name
        assert model.checked >= dt.date(2026, 11, 21), model.name


def test_a_file_overrides_a_price_and_keeps_what_it_does_not_say(write):
    read = price_file.read(write(f"models:\n  claude-opus-5-5:\n    prices: [{PRICES}]\n"))
    model = read.models["claude-opus-5-5"]
    assert (model.rows[0].rates.output, model.min_cacheable_tokens, model.origin) == (5e-06, 512, "file")
    assert model.rows[0].factors == {"batch": 0.5, "fast": 2.0, "geo_us": 1.1, "regional": 1.1}
    assert read.models["claude-haiku-4-5"].origin == "shipped"


def test_a_file_may_override_a_factor_alone(write):
    read = price_file.read(write("models:\n  claude-opus-4-8:\n    factors: {batch: 0.4}\n"))
    rows = read.models["claude-opus-4-8"].rows
    assert [(row.factors["batch"], row.factors.get("fast")) for row in rows] == [(0.4, 2.0), (0.4, None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models:\n  m:\n    prices: [{input: -1}]\n",
            "prices.yml:3: input: a number of 0 or more is expected",
        ),
        ("models:\n  m:\n    price: []\n", "prices.yml:3: price: unknown key; known here: checked,"),
        ("models:\n  m:\n    factors: {slow: 2}\n", "prices.yml:3: slow: unknown key"),
        ("models:\n  m: {checked: soon}\n", "prices.yml:2: prices: a list of rows is expected"),
        ("models:\n  m: 3\n", "prices.yml:2: m: a mapping is expected"),
        ("models:\n  m: {}\n  m: {}\n", "prices.yml:3: key 'm' stands here a second time"),
        ("version: 2\n", "prices.yml:1: version: this release reads version 1, not 2"),
        ("[1]\n", "prices.yml:1: a mapping with `models:` is expected"),
        ("models: {\n", "prices.yml:2:"),
        (
            "models:\n  m:\n    prices:\n      - {from: 2026-02-01, until: 2026-01-01, input: 1}\n",
            "prices.yml:4: until: a day after `from` is expected, and 2026-01-01 is not after 2026-02-01",
        ),
        (
            f"models:\n  m:\n    prices: [{PRICES}, {PRICES}]\n",
            "prices.yml:3: prices: two rows hold for 0001-01-01; give the earlier one an `until`",
        ),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(write, text, said):
    with pytest.raises(ConfigurationError) as raised:
        price_file.read(write(text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.yml: cannot be read: No such file"):
        price_file.read(tmp_path / "none.yml")
