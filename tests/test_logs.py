"""Log handlers and filters that raise: nobody who writes a line is affected, and no thread of ours ends."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from anthropic_exporter import threads
from anthropic_exporter.logs import Log


class Ended(BaseException):
    """What ends a thread, unless somebody takes it."""


@pytest.fixture
def raises() -> Iterator[Any]:
    """Lets each line of the library raise in a filter, which no handler's error handling covers."""
    logger, made = logging.getLogger("anthropic_exporter"), []

    def arrange(error: Any) -> None:
        def raising(_: Any) -> bool:
            raise error

        made.append(raising)
        logger.addFilter(raising)

    yield arrange
    for one in made:
        logger.removeFilter(one)


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError("x"), KeyError("x")])
def test_a_filter_that_fails_is_not_the_callers_failure(raises: Any, error: Exception) -> None:
    raises(error)
    Log("anthropic_exporter").warning("a line of %s", "ours")


@pytest.mark.parametrize("error", [Ended(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError("x")])
def test_a_filter_ends_no_thread_of_ours(raises: Any, error: BaseException) -> None:
    raises(error)
    written: list[str] = []

    def write() -> None:
        Log("anthropic_exporter").error("a line")
        written.append("and on")

    thread = threads.start(write, name="test")
    assert thread is not None
    thread.join(30)
    assert written == ["and on"]


def test_what_a_signal_handler_raises_meanwhile_reaches_the_application() -> None:
    class Limit(Exception):  # noqa: N818 - as an application names its own
        pass

    def handler(*_: Any) -> None:
        raise Limit

    before = signal.signal(signal.SIGUSR1, handler)
    logger = logging.getLogger("anthropic_exporter")

    def interrupting(_: Any) -> bool:
        signal.raise_signal(signal.SIGUSR1)
        return True

    logger.addFilter(interrupting)
    try:
        with pytest.raises(Limit):
            Log("anthropic_exporter").error("a line")
    finally:
        logger.removeFilter(interrupting)
        signal.signal(signal.SIGUSR1, before)


def test_a_line_names_the_place_that_writes_it(caplog: pytest.LogCaptureFixture) -> None:
    Log("anthropic_exporter").warning("here")
    (record,) = caplog.records
    assert (record.funcName, record.module) == (sys._getframe().f_code.co_name, "test_logs")
