from __future__ import annotations

import pytest
from prometheus_client.utils import floatToGoString

from anthropic_exporter.metrics.text import escape, format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (171.0, "171.0"),
        (0.0002, "0.0002"),
        (1e-07, "1e-07"),
        (999_999.0, "999999.0"),
        (1_000_000.0, "1e+06"),
        (2_700_000.0, "2.7e+06"),
        (1_795_262_400.25, "1.79526240025e+09"),
        (1e16, "1e+16"),
        (float("inf"), "+Inf"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert format_value(value) == text == floatToGoString(value)  # type: ignore[no-untyped-call]


def test_label_values_are_escaped() -> None:
    assert escape('a"b\nc\\') == r"a\"b\nc\\"
