"""Who a call is for: a context variable, set for a block or for a function."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeVar

from anthropic_exporter.call import Task
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.kept_text import kept

_F = TypeVar("_F", bound=Callable[..., Any])


class Attribution(NamedTuple):
    """The feature and user that a call is counted under, empty if unknown, and the running task, if any."""

    feature: str = ""
    user: str = ""
    task: Task | None = None


_task_numbers = itertools.count(1)


class _Block:
    """One entered block. `is_open` becomes False when it is left in a context other than the one it was entered in."""

    __slots__ = ("is_open", "owner", "token", "value")

    def __init__(self, value: Attribution, owner: attribution | None = None) -> None:
        self.value = value
        self.owner = owner
        self.is_open = True
        self.token: Token[_Blocks] | None = None


_Blocks = tuple[_Block, ...]
# The blocks of a context, innermost last. A generator that holds a block may be closed anywhere: inside another block,
# in another task, by the garbage collector in another thread. So a block is left by its identity, not by its place.
_blocks: ContextVar[_Blocks] = ContextVar("anthropic_exporter_attribution", default=(_Block(Attribution()),))


def current() -> Attribution:
    """The attribution of the running block."""
    block = _blocks.get()[-1]
    return block.value if block.is_open else _open_blocks()[-1].value


def _open_blocks() -> _Blocks:
    return tuple(block for block in _blocks.get() if block.is_open)


_NO_TASK = ("", None, None)


class attribution:  # noqa: N801 - reads as a statement: `with attribution(...)`, `@attribution(...)`
    """Attribute the Claude calls of a block, or of a function where used as a decorator.

    Holds across `await`, in tasks, in `asyncio.to_thread` and in copied contexts. A plain `threading.Thread` starts
    unattributed, as Python has it. A nested block changes only what it names. A stream belongs to the block in which it
    was asked for. Values are short names of few features and users; see the README on bounded labels.

    A generator that is decorated is attributed while it runs and not while its consumer does. A block that is opened
    inside of an undecorated generator and spans a `yield` is seen by the consumer too, as Python has it, until the
    generator ends, wherever that is. Work that runs later or elsewhere (a callback, a thread, a background task of a
    web framework) takes the running block along by `attribution.bind(function)`.

    Args:
        feature: the part of the application that spends, such as "summarise".
        user: the customer or team it spends for.
        task: a name for one run of this block, which is a task with limits of its own; no label.
        max_calls: the calls that one run may make. A `Guard` alerts on more, and blocks them if configured to.
        max_usd: the dollars that one run may spend; the call after that is one too many.

    Raises:
        ConfigurationError: a limit that is not a positive number.
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
        self._feature = None if feature is None else kept(str(feature))
        self._user = None if user is None else kept(str(user))
        self._limits = (task or "", max_calls, max_usd)
        self._entered: list[_Block] = []

    def __enter__(self) -> Attribution:
        block = _Block(self._inner(current()), self)
        self._entered.append(block)
        block.token = _blocks.set((*_open_blocks(), block))
        return block.value

    def __exit__(self, *_: object) -> None:
        blocks = _blocks.get()
        block = next((one for one in reversed(blocks) if one.owner is self), None)
        if block is None:  # entered in another context, which now sees that it was left
            if self._entered:
                self._entered.pop().is_open = False
            return
        if block in self._entered:
            self._entered.remove(block)
        if not _was_entered_here(block):
            block.is_open = False
        _blocks.set(tuple(one for one in blocks if one is not block))

    def _inner(self, outer: Attribution) -> Attribution:
        return Attribution(
            outer.feature if self._feature is None else str(self._feature),
            outer.user if self._user is None else str(self._user),
            outer.task if self._limits == _NO_TASK else Task(next(_task_numbers), *self._limits),
        )

    def _again(self) -> attribution:
        """Return a new block with the same values, for one run of a decorated function."""
        task, max_calls, max_usd = self._limits
        return attribution(feature=self._feature, user=self._user, task=task, max_calls=max_calls, max_usd=max_usd)

    @staticmethod
    def bind(function: _F) -> _F:
        """Return `function` bound to the running block: for a callback, another thread, a task, or a later call.

        The running task of the block goes along too. Takes any kind of function: plain, async or a generator.
        """
        return functools.wraps(function)(_wrapper(function, _Carried(current())))  # type: ignore[return-value]

    def __call__(self, function: _F) -> _F:
        """Decorate a plain, async, generator or async generator function."""
        return functools.wraps(function)(_wrapper(function, self))  # type: ignore[return-value]


class _Carried(attribution):
    """A block with the values of another one."""

    def __init__(self, carried: Attribution) -> None:
        super().__init__()
        self._carried = carried

    def _inner(self, outer: Attribution) -> Attribution:  # noqa: ARG002 - nothing is inherited
        return self._carried

    def _again(self) -> attribution:
        return _Carried(self._carried)


def _was_entered_here(block: _Block) -> bool:
    """Whether this context is the one in which the block was entered, and not a copy of it or another one."""
    try:
        _blocks.reset(block.token)  # type: ignore[arg-type]  # set by whoever entered it
    except (ValueError, RuntimeError):
        return False
    return True


def _wrapper(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    """A wrapper of the same kind as `function`, because frameworks check the kind."""
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, block)
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, block)
    return (_generator if inspect.isgeneratorfunction(function) else _plain)(function, block)


def _plain(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block._again():  # noqa: SLF001 - this module's own
            result = function(*args, **kwargs)
        return _awaited(result, block) if inspect.iscoroutine(result) else result

    return wrapper


async def _awaited(coroutine: Any, block: attribution) -> Any:
    """Await what a callable returned that is not an async function, such as an object with an async `__call__`."""
    with block._again():  # noqa: SLF001 - this module's own
        return await coroutine


def _coroutine(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block._again():  # noqa: SLF001 - this module's own
            return await function(*args, **kwargs)

    return wrapper


class _Step:
    """The blocks of a generator: entered while it runs, left while its consumer runs."""

    def __init__(self, block: attribution) -> None:
        with block._again():  # noqa: SLF001 - this module's own
            self._inside = _blocks.get()
        self._outside = _blocks.get()

    def __enter__(self) -> None:
        self._outside = _blocks.get()
        _blocks.set(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = _blocks.get()
        _blocks.set(self._outside)


def _generator(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        generator, step = function(*args, **kwargs), _Step(block)
        resume: Callable[[], Any] = functools.partial(next, generator)
        while True:
            try:
                with step:
                    value = resume()
            except StopIteration as stop:
                return stop.value
            try:
                resume = functools.partial(generator.send, (yield value))
            except GeneratorExit:
                with step:
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator to handle
                resume = functools.partial(generator.throw, error)

    return wrapper


def _async_generator(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        generator, step = function(*args, **kwargs), _Step(block)
        resume: Callable[[], Any] = generator.__anext__
        while True:
            try:
                with step:
                    value = await resume()
            except StopAsyncIteration:
                return
            try:
                resume = functools.partial(generator.asend, (yield value))
            except GeneratorExit:
                with step:
                    await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator to handle
                resume = functools.partial(generator.athrow, error)

    return wrapper
