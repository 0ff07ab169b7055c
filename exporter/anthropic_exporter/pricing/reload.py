"""The current price book: reloads the user's file when it changes, and adds models from genai-prices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from anthropic_exporter import bounded_files, threads
from anthropic_exporter.call import Call
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.kept_text import MOST_CHARS
from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.logs import Log
from anthropic_exporter.pricing import genai_lookup
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import Model

_log = Log("anthropic_exporter")
_CHECK_EVERY_SECONDS = 30.0
#: How long a scrape waits for another thread that reads prices.
_PATIENCE_SECONDS = 1.0
_MOST_ASKED = 200
_MOST_HELD = 10_000


class LivePrices:
    """Holds the book and replaces it, never on the thread of a call.

    The next scrape reads a changed file; without scrapes, a short-lived thread does. If genai-prices is installed, a
    call on an unknown model waits: a short-lived thread or the next scrape looks the model up once, and resumes the
    call.

    Args:
        prices: a price file, a ready book, or None for the shipped one.
        clock: seconds since the epoch.
        resume: takes calls that waited, to be written now.
        broken: is called with one line that describes the mistake in an edit.
        changing: called before the book is replaced: calls that ended before keep the prices of their time.

    Raises:
        ConfigurationError: a mistake in the price file.
    """

    def __init__(
        self,
        prices: str | Path | PriceBook | None,
        clock: Callable[[], float],
        resume: Callable[[Iterable[Call]], None],
        broken: Callable[[str], None],
        changing: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = Path(prices) if isinstance(prices, str | Path) else None
        self._stamp = bounded_files.stamp(self._path) if self._path else None
        self.book = prices if isinstance(prices, PriceBook) else PriceBook.load(self._path)
        self._clock, self._resume, self._broken = clock, resume, broken
        self._changing = changing
        self.due = clock() + _CHECK_EVERY_SECONDS if self._path else float("inf")
        self._answers: dict[str, Model | None] = {}
        self.reset()

    def reset(self) -> None:
        """Forget threads and waiting calls: at construction, and in a forked child, which inherits neither."""
        self._lock = SafeLock()
        self._held: deque[Call] = deque()
        self._working = False

    def refresh(self) -> None:
        """Read a changed file and look up models that calls wait for. Called by a scrape; usually takes a microsecond.

        Waits up to a second for a thread that already does so: a scrape shows every call recorded before it.
        """
        if self._held or self._lock.is_held or self._clock() >= self.due:
            self._work()

    def refresh_soon(self) -> None:
        """Do the same on a short thread."""
        if not self._working:
            self._working = True  # set before the thread runs, because the thread resets it
            if threads.start(self._work, name="anthropic-exporter-prices") is None:
                self._working = False  # no thread can start: the next call or scrape tries again

    def holds(self, call: Call) -> bool:
        """Whether a call without a price waits for a lookup; `resume` gets it back."""
        unknown = [one.model for one in call.inferences if self._may_ask(one.model)]
        if not unknown or len(self._held) >= _MOST_HELD or not genai_lookup.installed():
            return False
        self._held.append(call)
        self.refresh_soon()
        return True

    def _may_ask(self, model: str) -> bool:
        if len(model) > MOST_CHARS:  # there is no price for it, and it would be kept
            return False
        return model not in self._answers and len(self._answers) < _MOST_ASKED and self.book.model(model) is None

    def _work(self) -> None:
        try:
            if not self._lock.wait(this_frame(), _PATIENCE_SECONDS):
                return
            self._working = False
            if self._clock() >= self.due:
                self.due = self._clock() + _CHECK_EVERY_SECONDS
                self._read_again()
            held = [self._held.popleft() for _ in range(len(self._held))]
            if held:
                self._ask({one.model for call in held for one in call.inferences if self._may_ask(one.model)})
                self._resume(held)
        finally:
            self._lock.release(this_frame())

    def _read_again(self) -> None:
        """Reload the file if it changed. A broken edit changes nothing and is reported once."""
        if self._path is None:
            return
        stamp = bounded_files.stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            book = PriceBook.load(self._path)
        except Exception as error:  # noqa: BLE001 - whatever a file does to its reader, a scrape goes on
            said = error if isinstance(error, ConfigurationError) else f"{self._path}: {type(error).__name__}"
            self._broken(f"{said}; the previous prices stay in effect")
            return
        self._changing()
        self.book = book.extended(self._found())
        _log.info("%s: prices reloaded", self._path)

    def _ask(self, names: set[str]) -> None:
        """Look models up. Calls on them wait until the book has them all: one that is known to be priced is priced."""
        answers = {name: self._look_up(name) for name in sorted(names)}
        self.book = self.book.extended({**self._found(), **_known(answers)})
        self._answers.update(answers)

    def _look_up(self, name: str) -> Model | None:
        try:
            return genai_lookup.look_up(name)
        except Exception as error:  # noqa: BLE001 - somebody else's library; the model stays unpriced
            self._broken(f"genai-prices could not be queried: {type(error).__name__}")
            return None

    def _found(self) -> dict[str, Model]:
        return _known(self._answers)


def _known(answers: Mapping[str, Model | None]) -> dict[str, Model]:
    return {name: model for name, model in answers.items() if model is not None}
