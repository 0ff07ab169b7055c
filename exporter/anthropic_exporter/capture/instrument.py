"""`instrument(recorder)`: record every client that is created from now on, without a change where clients are made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from anthropic import _base_client

from anthropic_exporter.capture.middleware import Capture
from anthropic_exporter.recording.intake import Intake


def instrument(recorder: Intake) -> Callable[[], None]:
    """Record every client created from now on, without a change where clients are made.

    Wraps the two base classes that every client class of the SDK goes through. Clients that already carry the
    recorder's middleware are left alone. Calling it again for the same recorder changes nothing, and undoes nothing.
    Several recorders may be instrumented, and undone in any order.

    Returns:
        A function that undoes it; clients created meanwhile keep recording.
    """
    if recorder in _instrumented:
        return lambda: None
    _instrumented.append(recorder)
    unwrap = [_wrap_init(cls) for cls in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient)]

    def uninstrument() -> None:
        if recorder in _instrumented:
            _instrumented.remove(recorder)
        for one in () if _instrumented else unwrap:
            one()

    return uninstrument


_instrumented: list[Intake] = []


def _wrap_init(cls: type[Any]) -> Callable[[], None]:
    original = cls.__init__
    if _ours(original):
        return lambda: _unwrap_init(cls)

    @functools.wraps(original)
    def init(self: Any, *args: Any, middleware: Any = None, **kwargs: Any) -> None:
        original(self, *args, middleware=_with_captures(middleware or ()), **kwargs)

    init._anthropic_exporter_init = init  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    cls.__init__ = init
    return lambda: _unwrap_init(cls)


def _unwrap_init(cls: type[Any]) -> None:
    """Put the original back, unless somebody wrapped ours since: then ours stays and adds nothing."""
    if _ours(cls.__init__):
        cls.__init__ = cls.__init__.__wrapped__


def _ours(init: Any) -> bool:
    """Whether this very function is ours; a wrapper around it carries a copy of its mark."""
    return getattr(init, "_anthropic_exporter_init", None) is init


def _with_captures(middleware: Iterable[Any]) -> tuple[Any, ...]:
    chain = tuple(middleware)
    carried = [one.recorder for one in chain if isinstance(one, Capture)]
    return (*chain, *(Capture(recorder) for recorder in _instrumented if recorder not in carried))
