"""Distinguishes an exception that was raised into our code from a failure of our code.

A signal handler and `PyThreadState_SetAsyncExc` raise at any instruction: the application's exception then has our
frames in its traceback, but it is not our failure, and must reach the application.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from opcode import opmap
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from anthropic_exporter import threads

_FOLDER = str(Path(__file__).parent)
_RAISES = frozenset(opmap[name] for name in ("RAISE_VARARGS", "RERAISE") if name in opmap)


def is_interruption(error: BaseException) -> bool:
    """Whether an exception was raised into our code from outside: to be passed on, not to be counted.

    On a thread of this library nothing is: no signal handler runs there, and nobody waits for what it raises.
    """
    if threads.is_own():
        return False
    if not isinstance(error, Exception):
        return True
    traces = list(_traces(error.__traceback__))
    if not traces:
        return False
    handlers = _signal_handlers()
    if any(_is_signal_handler(trace.tb_frame, handlers) for trace in traces):
        return True
    arguments = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a class may define its own `args`
    return not arguments and not isinstance(error, MemoryError) and _came_from_nowhere(type(error), traces[-1])


def _traces(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _signal_handlers() -> set[CodeType]:
    """The code objects of all installed signal handlers."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers)
    return {code for code in codes if code is not None}


def _is_signal_handler(frame: FrameType, handlers: set[CodeType]) -> bool:
    """Python calls a handler with the frame that it interrupts."""
    if frame.f_code in handlers:
        return True
    arguments = frame.f_locals.values()
    passed = [*arguments, *(one for value in arguments if type(value) is tuple for one in value)]
    return frame.f_back is not None and any(one is frame.f_back for one in passed)


def _came_from_nowhere(kind: type[BaseException], innermost: TracebackType) -> bool:
    """Whether an exception without arguments appeared without a `raise`, as one that another thread raises does.

    Python's own errors have a message. Those that C code raises without one belong to Python's standard library; where
    our own code or a class of it runs, there are none.
    """
    frame = innermost.tb_frame
    if frame.f_code.co_code[innermost.tb_lasti] in _RAISES:
        return False
    if frame.f_code.co_filename.startswith(("<", _FOLDER)):
        return True
    return kind.__module__.partition(".")[0] not in sys.stdlib_module_names
