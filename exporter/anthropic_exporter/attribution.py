"""Who a call is for: a context variable, set for a block or for a function."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeVar

from .call import Task
from .errors import ConfigurationError

_F = TypeVar("_F", bound=Callable[..., Any])


class Attribution(NamedTuple):
    """The feature and the user that a call is counted under; empty where nobody said. A task where one is running."""

    feature: str = ""
    user: str = ""
    task: Task | None = None


_task_numbers = itertools.count(1)
_current: ContextVar[Attribution] = ContextVar("anthropic_exporter_attribution", default=Attribution())  # noqa: B039 - immutable


def current() -> Attribution:
    """The attribution of the running block."""
    return _current.get()


_NO_TASK = ("", None, None)


class attribution:  # noqa: N801 - reads as a statement: `with attribution(...)`, `@attribution(...)`
    """Attribute the Claude calls of a block, or of a function where used as a decorator.

    Holds across `await`, in tasks, in `asyncio.to_thread` and in copied contexts. A plain `threading.Thread` starts
    unattributed, as Python has it. A nested block changes only what it names. A stream belongs to the block in which it
    was asked for. Values are short names of few features and users; see the README on bounded labels.

    Args:
        feature: the part of the application that spends, such as "summarise".
        user: the customer or team it spends for.
        task: a name for one run of this block, which is a task with limits of its own; no label.
        max_calls: the calls that one run may make. A `Guard` tells of more, and blocks them where told to.
        max_usd: the dollars that one run may spend; the call after that is one too many.

    Raises:
        ConfigurationError: a limit that is no positive number.
    """

    def __init__(
        self,
        *,
        feature: str | None = None,
        user: str | None = None,
        task: str | None = None,
        max_calls: int | None = None,
        max_usd: float | None = None,
    ) -> None:
        for name, limit in (("max_calls", max_calls), ("max_usd", max_usd)):
            if limit is not None and not limit > 0:
                raise ConfigurationError(f"attribution({name}={limit!r}): give a number above 0")
        self._feature = feature
        self._user = user
        self._limits = (task or "", max_calls, max_usd)
        self._tokens: list[Token[Attribution]] = []

    def __enter__(self) -> Attribution:
        outer = _current.get()
        inner = Attribution(
            outer.feature if self._feature is None else str(self._feature),
            outer.user if self._user is None else str(self._user),
            outer.task if self._limits == _NO_TASK else Task(next(_task_numbers), *self._limits),
        )
        self._tokens.append(_current.set(inner))
        return inner

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())

    def _again(self) -> attribution:
        """The same block for one more run, which may be in another thread."""
        task, max_calls, max_usd = self._limits
        return attribution(feature=self._feature, user=self._user, task=task, max_calls=max_calls, max_usd=max_usd)

    def __call__(self, function: _F) -> _F:
        """Decorate a plain, async, generator or async generator function."""
        wrapper = _wrapper(function, self._again)
        return functools.wraps(function)(wrapper)  # type: ignore[return-value]


def _wrapper(function: Callable[..., Any], block: Callable[[], attribution]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        async def in_coroutine(*args: Any, **kwargs: Any) -> Any:
            with block():
                return await function(*args, **kwargs)

        return in_coroutine

    def in_call(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    return in_call
