"""Who a call is for: a context variable, set for a block or for a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


class Attribution(NamedTuple):
    """The feature and the user that a call is counted under; empty where nobody said."""

    feature: str = ""
    user: str = ""


_current: ContextVar[Attribution] = ContextVar("anthropic_exporter_attribution", default=Attribution())  # noqa: B039 - immutable


def current() -> Attribution:
    """The attribution of the running block."""
    return _current.get()


class attribution:  # noqa: N801 - reads as a statement: `with attribution(...)`, `@attribution(...)`
    """Attribute the Claude calls of a block, or of a function where used as a decorator.

    Holds across `await`, in tasks, in `asyncio.to_thread` and in copied contexts. A plain `threading.Thread` starts
    unattributed, as Python has it. A nested block changes only what it names. A stream belongs to the block in which it
    was asked for. Values are short names of few features and users; see the README on bounded labels.

    Args:
        feature: the part of the application that spends, such as "summarise".
        user: the customer or team it spends for.
    """

    def __init__(self, *, feature: str | None = None, user: str | None = None) -> None:
        self._feature = feature
        self._user = user
        self._tokens: list[Token[Attribution]] = []

    def __enter__(self) -> Attribution:
        outer = _current.get()
        inner = Attribution(
            outer.feature if self._feature is None else str(self._feature),
            outer.user if self._user is None else str(self._user),
        )
        self._tokens.append(_current.set(inner))
        return inner

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())

    def __call__(self, function: _F) -> _F:
        """Decorate a plain, async, generator or async generator function."""
        wrapper = _wrapper(function, self._feature, self._user)
        return functools.wraps(function)(wrapper)  # type: ignore[return-value]


def _wrapper(function: Callable[..., Any], feature: str | None, user: str | None) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        async def in_coroutine(*args: Any, **kwargs: Any) -> Any:
            with attribution(feature=feature, user=user):
                return await function(*args, **kwargs)

        return in_coroutine

    def in_call(*args: Any, **kwargs: Any) -> Any:
        with attribution(feature=feature, user=user):
            return function(*args, **kwargs)

    return in_call
