"""The one object that a recorder asks: what is remembered of a request, and what its call adds to the counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.call import SUCCESS, Bill, Call, Sight
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import USUAL_MINIMUM_TOKENS
from anthropic_exporter.recording.advice import spending
from anthropic_exporter.recording.advice import sums as s
from anthropic_exporter.recording.advice.prefixes import Sampler
from anthropic_exporter.recording.advice.repeats import Repeats
from anthropic_exporter.recording.advice.sums import Add, SumsByPlace, Where

_MOST_MODELS = 500
#: Calls that are counted together.
_TOGETHER = 32


class _Model(NamedTuple):
    """Tokens below which a model caches nothing, and whether long prompts have prices of their own."""

    minimum: int
    has_cliff: bool


class AdviceWatch:
    """Watches the requests of one process.

    Args:
        failed: takes a failure of this class, which never reaches the call that it is about.
    """

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._repeats = Repeats()
        self._sums = SumsByPlace()
        self._sampler = Sampler(self._repeats.prefixes)
        self._models: dict[str, _Model] = {}
        self._waiting: list[tuple[Call, Bill, PriceBook, Where]] = []

    def sight(self, request: Mapping[str, Any]) -> Sight | None:
        """What is remembered of a request; on the application's thread. None if it has a shape that no API takes."""
        try:
            return self._sampler.sight(request)
        except Exception as error:  # noqa: BLE001 - the error boundary: the call itself is counted
            self._failed("advice", error)
            return None

    def write(self, call: Call, bill: Bill, book: PriceBook, where: Where) -> None:
        """Take a priced call, with the lock held. `where` are the labels model and feature of its series."""
        waiting = self._waiting
        waiting.append((call, bill, book, where))
        if len(waiting) >= _TOGETHER:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Count the calls that wait: many in a row cost a third of what they cost one by one."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            try:
                self._write(*one)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed("advice", error)

    def _write(self, call: Call, bill: Bill, book: PriceBook, where: Where) -> None:
        seen = call.prompt
        if seen is None or call.outcome != SUCCESS or not call.inferences:
            return
        sums = self._sums.by_place.get(where) or self._sums.of(where)
        minimum, has_cliff = self._models.get(call.model) or self._learn(call.model, book)
        self._repeats.write(call, seen, minimum, sums)
        spending.write(call, bill, book, sums, is_single=seen[3])
        if has_cliff:
            sums[s.LONG_PROMPT] += spending.above_the_cliff(call, bill, book)

    def write_counts(self, add: Add) -> None:
        """Bring the counters up to date, with the lock held."""
        self._write_waiting()
        self._sums.write_counts(add)

    def _learn(self, name: str, book: PriceBook) -> _Model:
        known = book.model(name)
        found = _Model(USUAL_MINIMUM_TOKENS, has_cliff=False)
        if known is not None:
            found = _Model(known.min_cacheable_tokens, any(row.long_rates is not None for row in known.rows))
        if len(self._models) < _MOST_MODELS:
            self._models[name] = found
        return found
