"""`instrument(recorder)`: record every client created from now on, without changing where clients are made."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable, Iterable
from typing import Any

from anthropic import _base_client

from anthropic_exporter.capture.middleware import Capture
from anthropic_exporter.recording.intake import Intake

_log = logging.getLogger("anthropic_exporter")


def instrument(recorder: Intake) -> Callable[[], None]:
    """Record every client created from now on, without changing where clients are made.

    Wraps the two base classes that every client class of the SDK goes through. Clients that already carry the
    recorder's middleware are left alone. Calling it again for the same recorder changes nothing, and undoes nothing.
    Several recorders may be instrumented, and undone in any order. Open clients that were created before are not
    recorded; a warning in the log says how many there are and what to do.

    Returns:
        A function that undoes it; clients created meanwhile keep recording.
    """
    if recorder in _instrumented:
        return lambda: None
    _instrumented.append(recorder)
    unwrap = [_wrap_init(cls) for cls in _BASES]
    _warn_of_earlier_clients(recorder)

    def uninstrument() -> None:
        if recorder in _instrumented:
            _instrumented.remove(recorder)
        for one in () if _instrumented else unwrap:
            one()

    return uninstrument


_BASES = (_base_client.SyncAPIClient, _base_client.AsyncAPIClient)
_instrumented: list[Intake] = []


def _warn_of_earlier_clients(recorder: Intake) -> None:
    """The SDK keeps no list of its clients, so this searches the garbage collector's: some 20 ms, once."""
    # `type()` and not `isinstance`, which would ask the `__class__` of lazy proxies of others.
    clients = [one for one in gc.get_objects() if issubclass(type(one), _BASES)]
    missed = sum(_is_missed(one, recorder) for one in clients)
    if missed:
        _log.warning(
            "%d client%s created before instrument() and not recorded: call instrument() first, or use "
            "client.with_options(middleware=[*client.middleware, recorder.middleware()])",
            missed,
            " was" if missed == 1 else "s were",
        )


def _is_missed(client: Any, recorder: Intake) -> bool:
    try:
        return not client.is_closed() and recorder not in _carried(client.middleware)
    except AttributeError:  # a client whose construction failed
        return False


def _carried(chain: Iterable[Any]) -> list[Intake]:
    return [one.recorder for one in chain if isinstance(one, Capture)]


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
    """Restore the original, unless our wrapper was wrapped since: then it stays and does nothing."""
    if _ours(cls.__init__):
        cls.__init__ = cls.__init__.__wrapped__


def _ours(init: Any) -> bool:
    """Whether this function is ours; a wrapper around it has a copy of its mark.

    That of another copy of this module, as a reloader leaves behind, records for the recorders of that copy alone.
    """
    mark: Any = getattr(init, "_anthropic_exporter_init", None)
    return mark is not None and mark is init and mark.__globals__ is globals()


def _with_captures(middleware: Iterable[Any]) -> tuple[Any, ...]:
    chain = tuple(middleware)
    carried = _carried(chain)
    return (*chain, *(Capture(recorder) for recorder in _instrumented if recorder not in carried))
