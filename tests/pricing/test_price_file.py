from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.pricing import price_file

PRICES = "{input: 1, cache_read: 0.1, cache_write_5m: 1.25, cache_write_1h: 2, output: 5}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(text: str) -> Path:
        path = tmp_path / "prices.yml"
        path.write_text(text)
        return path

    return make


def test_every_shipped_row_says_where_and_when_it_was_read() -> None:
    for model in price_file.shipped().models.values():
        assert model.source, model.name
        assert model.checked >= dt.date(2026, 11, 21), model.name


def test_a_file_overrides_a_price_and_keeps_what_it_does_not_say(write: Callable[..., Path]) -> None:
    read = price_file.read(write(f"models:\n  claude-opus-5-5:\n    prices: [{PRICES}]\n"))
    model = read.models["claude-opus-5-5"]
    assert (model.rows[0].rates.output, model.min_cacheable_tokens, model.origin) == (5e-06, 512, "file")
    assert model.rows[0].factors == {"batch": 0.5, "fast": 2.0, "geo_us": 1.1, "regional": 1.1, "us_gov": 1.2}
    assert read.models["claude-haiku-4-5"].origin == "shipped"


def test_a_file_may_override_a_factor_alone(write: Callable[..., Path]) -> None:
    read = price_file.read(write("models:\n  claude-opus-4-8:\n    factors: {batch: 0.4}\n"))
    rows = read.models["claude-opus-4-8"].rows
    assert [(row.factors["batch"], row.factors.get("fast")) for row in rows] == [(0.4, 2.0), (0.4, None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models:\n  m:\n    prices: [{input: -1}]\n",
            "prices.yml:3: input: expected a number of 0 or more",
        ),
        ("models:\n  m:\n    price: []\n", "prices.yml:3: price: unknown key; known keys: checked,"),
        ("models:\n  m:\n    factors: {slow: 2}\n", "prices.yml:3: slow: unknown key"),
        ("models:\n  m: {checked: soon}\n", "prices.yml:2: prices: expected a list of rows"),
        ("models:\n  m: 3\n", "prices.yml:2: m: expected a mapping"),
        ("models:\n  m: {}\n  m: {}\n", "prices.yml:3: key 'm' is repeated"),
        ("version: 2\n", "prices.yml:1: version: this release reads version 1, not 2"),
        ("[1]\n", "prices.yml:1: expected a mapping of keys to values"),
        ("models: {\n", "prices.yml:2:"),
        (
            "models:\n  m:\n    prices:\n      - {from: 2026-02-01, until: 2026-01-01, input: 1}\n",
            "prices.yml:4: until: expected a date after `from`: 2026-01-01 is not after 2026-02-01",
        ),
        (
            f"models:\n  m:\n    prices: [{PRICES}, {PRICES}]\n",
            "prices.yml:3: prices: two rows apply on 0001-01-01; give the earlier one an `until`",
        ),
        (
            f"models:\n  m:\n    prices: [{{{PRICES[1:-1]}, long_prompt: {{above_prompt_tokens: 9, input: 1}}}}]\n",
            "prices.yml:3: cache_read: expected a number of 0 or more, got None",
        ),
        (
            f"models:\n  m:\n    prices: [{{{PRICES[1:-1]},\n long_prompt: {{above_prompt_tokens: 1.5, input: 1}}}}]\n",
            "prices.yml:4: cache_read: expected a number of 0 or more, got None",
        ),
        (
            f"models:\n  m:\n    prices:\n      - {PRICES.replace('input: 1', 'input: .inf')}\n",
            "prices.yml:4: input: expected a number of 0 or more, got inf",
        ),
        (
            f"models:\n  m:\n    prices:\n      - {PRICES.replace('input: 1', 'input: true')}\n",
            "prices.yml:4: input: expected a number of 0 or more, got True",
        ),
        (
            f"models:\n  m:\n    checked: 2026-13-01\n    prices: [{PRICES}]\n",
            "prices.yml:3: checked: month must be in 1..12",
        ),
        (
            f"models:\n  m:\n    checked: 2026-11-21T10:00:00\n    prices: [{PRICES}]\n",
            "prices.yml:3: checked: expected a date such as 2026-11-21",
        ),
        (
            f"models:\n  m:\n    factors:\n      batch: half\n    prices: [{PRICES}]\n",
            "prices.yml:4: batch: expected a number of 0 or more, got 'half'",
        ),
        (
            "server_tools:\n  web_search:\n    usd_per_requests: 1\n",
            "prices.yml:3: usd_per_requests: unknown key; known keys: checked, source, usd_per_request",
        ),
        (
            "server_tools:\n  web_search: {}\n",
            "prices.yml:2: usd_per_request: expected a number of 0 or more, got None",
        ),
        ("2026-13-01\n", "prices.yml: not YAML"),
        ("version: !!timestamp soon\n", "prices.yml:1: version: the value cannot be read"),
        (
            f"models:\n  m:\n    min_cacheable_tokens: 1.5\n    prices: [{PRICES}]\n",
            "prices.yml:3: min_cacheable_tokens: expected a whole number, got 1.5",
        ),
        (
            f"models:\n  m:\n    min_cacheable_tokens: {'9' * 400}\n    prices: [{PRICES}]\n",
            "prices.yml:3: min_cacheable_tokens: expected a number of 0 or more, got 9999",
        ),
        ("models:\n\tm: 3\n", "prices.yml:2:"),
        ("", "prices.yml:1: expected a mapping of keys to values"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(write: Callable[..., Path], text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        price_file.read(write(text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


WORDS = ["null", "-1", "1e999", "[]", "{}", ".nan", "9" * 500, "2026-02-30", "!!timestamp x", "&a", "*a", "? [a]", "\t"]


def read_or_told(path: Path) -> str:
    """What is said of a file; empty where it is read."""
    try:
        price_file.read(path)
    except ConfigurationError as error:
        return str(error)
    return ""


def test_no_damage_of_a_file_is_anything_but_one_line_that_names_it(write: Callable[..., Path]) -> None:
    chance, shipped = random.Random(3), price_file.SHIPPED.read_text()
    text, said = shipped[shipped.index("server_tools") : shipped.index("  claude-fable-5-1:")], set()
    for _ in range(400):
        at, word = chance.randrange(len(text)), chance.choice([*WORDS, chr(chance.randrange(1, 300))])
        said.add(read_or_told(write(text[:at] + word + text[at + chance.randrange(9) :])))
    assert len(said) > 100
    assert [line for line in said if line and not re.match(r".*prices\.yml(:\d+)?: [^\n]+$", line)] == []


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "prices.yml"
    path.write_bytes(b"models: \xff\xfe")
    with pytest.raises(ConfigurationError, match=r"prices\.yml: cannot be read: not UTF-8"):
        price_file.read(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yml: cannot be read: No such file"):
        price_file.read(tmp_path / "none.yml")
