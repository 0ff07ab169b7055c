"""Advice counted in plain lists of one feature and model, and brought to the recorder's counters at a scrape.

What happens at each call is an addition to a float; finding a counter by its labels costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable

from anthropic_exporter.metrics import families as f

#: How long ago the same was sent: within the cache's lifetimes of 5 minutes and of 1 hour, longer ago, or never.
GAPS = ("5m", "1h", "more", "new")
WITHIN_5M, WITHIN_1H, LONGER, NEVER = range(4)
#: Kinds of tokens. Each begins a row of the sums, with one place for each gap.
KINDS = ("uncached", "cache_read", "cache_write_5m", "cache_write_1h")
UNCACHED, READ, WRITTEN_5M, WRITTEN_1H = (len(GAPS) * number for number in range(4))
WASTES = ("unstreamed", "long_prompt", "region", "cut_off", "overlong")
UNSTREAMED, LONG_PROMPT, REGION, CUT_OFF, OVERLONG = (len(GAPS) * len(KINDS) + number for number in range(5))
#: Behind what is shown: the number of answers, and the sum of the logarithms of their lengths.
ANSWERS, LOGS = (len(GAPS) * len(KINDS) + len(WASTES) + number for number in range(2))
_PLACES = LOGS + 1
_SERIES = [
    *((f.ADVICE_PROMPT_TOKENS, (kind, gap)) for kind in KINDS for gap in GAPS),
    *((f.ADVICE_COST, (waste,)) for waste in WASTES),
]
SHORT_SECONDS, _LONG_SECONDS = 300.0, 3_600.0

Where = tuple[str, str]
Sums = list[float]
Add = Callable[[f.Family, tuple[str, ...], float], None]


def gap_of(seconds: float) -> int:
    """The gap of a time between two requests."""
    if seconds <= SHORT_SECONDS:
        return WITHIN_5M
    return WITHIN_1H if seconds <= _LONG_SECONDS else LONGER


class SumsByPlace:
    """Sums by labels (model, feature), which the recorder has bounded."""

    def __init__(self) -> None:
        self.by_place: dict[Where, Sums] = {}
        self._written: dict[Where, Sums] = {}

    def of(self, where: Where) -> Sums:
        """The sums to add to."""
        sums = self.by_place.get(where)
        if sums is None:
            sums = self.by_place[where] = [0.0] * _PLACES
        return sums

    def write_counts(self, add: Add) -> None:
        """Add what came since the last time to the counters. If `add` raises, all of it is written the next time."""
        fresh = {where: list(sums) for where, sums in self.by_place.items()}
        for where, sums in fresh.items():
            before = self._written.get(where) or [0.0] * _PLACES
            for (family, words), now, then in zip(_SERIES, sums, before, strict=False):  # the last are not shown
                if now > then:
                    add(family, (*where, *words), now - then)
        self._written = fresh
