"""Who a call is for: a context variable, set for a block or for a function."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
import types
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeVar

from anthropic_exporter.call import Task
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.kept_text import kept, text_of

_F = TypeVar("_F", bound=Callable[..., Any])


class Attribution(NamedTuple):
    """The feature and user that a call is counted under, empty if unknown, and the running task, if any."""

    feature: str = ""
    user: str = ""
    task: Task | None = None


_task_numbers = itertools.count(1)


_caller = sys._getframe  # noqa: SLF001 - of every Python that has it; nothing public is as fast


class _Block:
    """One entered block. `is_open` becomes False when it is left in a context other than the one it was entered in.

    `frame` identifies the function that entered it: one `attribution` object may be entered many times.
    """

    __slots__ = ("frame", "is_open", "owner", "token", "value")

    def __init__(self, value: Attribution, owner: attribution | None = None, frame: int = 0) -> None:
        self.value = value
        self.owner = owner
        self.frame = frame
        self.is_open = True
        self.token: Token[_Blocks] | None = None


_Blocks = tuple[_Block, ...]
# The blocks of a context, innermost last. A generator that holds a block may be closed anywhere: inside another block,
# in another task, by the garbage collector in another thread. So a block is left by its identity, not by its place.
entered_blocks: ContextVar[_Blocks] = ContextVar("anthropic_exporter_attribution", default=(_Block(Attribution()),))


def current() -> Attribution:
    """The attribution of the running block."""
    block = entered_blocks.get()[-1]
    return block.value if block.is_open else _open_blocks()[-1].value


def _open_blocks() -> _Blocks:
    return tuple(block for block in entered_blocks.get() if block.is_open)


_NO_TASK = ("", None, None)


def _is_positive(limit: Any) -> bool:
    try:
        return bool(limit > 0)
    except TypeError:
        return False


class attribution:  # noqa: N801 - reads as a statement: `with attribution(...)`, `@attribution(...)`
    """Attribute the Claude calls of a block, or, used as a decorator, of a function.

    The attribution follows `await`, tasks, `asyncio.to_thread` and copied contexts. A plain `threading.Thread` starts
    without it, because Python does not copy the context. A nested block changes only the values that it names. A stream
    belongs to the block in which it was requested. Values should be short names of a few features and users; see the
    README on label limits.

    A decorated generator is attributed while it runs, and its consumer is not affected. If a block inside an
    undecorated generator spans a `yield`, Python applies it to the consumer too, until the generator ends; and it is
    lost after the first `yield` if each step runs in a separate context, as when web frameworks run generators in
    threads. Decorate such generators. In a function with `@contextmanager`, a block around the `yield` attributes the
    body of the `with` statement; decorating the function does not. For work that runs later or elsewhere (a callback,
    a thread, a background task of a web framework), use `attribution.bind(function)`.

    Args:
        feature: the part of the application that spends, such as "summarise".
        user: the customer or team it spends for.
        task: a name for one run of this block, which is a task with its own limits. It is not a label.
        max_calls: the calls that one run may make. A `Guard` alerts on more, and blocks them if configured to.
        max_usd: the dollars that one run may spend; further calls exceed the limit.

    Raises:
        ConfigurationError: a limit is not a positive number, or the decorated object is not a function.
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
            if limit is not None and not _is_positive(limit):
                raise ConfigurationError(f"attribution({name}={limit!r}): give a number above 0")
        self._feature = None if feature is None else kept(text_of(feature))
        self._user = None if user is None else kept(text_of(user))
        self._limits = (task or "", max_calls, max_usd)
        self._entered: dict[_Block, None] = {}

    def __enter__(self) -> Attribution:
        block = _Block(self._inner(current()), self, id(_caller(1)))
        self._entered[block] = None
        block.token = entered_blocks.set((*_open_blocks(), block))
        return block.value

    def __exit__(self, *_: object) -> None:
        blocks, frame = entered_blocks.get(), id(_caller(1))
        innermost = blocks[-1]
        is_usual = innermost.owner is self and innermost.frame == frame
        block = innermost if is_usual else self._left(blocks, frame)
        if block is None:
            return
        self._entered.pop(block, None)
        if block not in blocks:  # entered in another context, which now sees that it was left
            block.is_open = False
            return
        if not _was_entered_here(block):
            block.is_open = False
        entered_blocks.set(blocks[:-1] if block is innermost else tuple(one for one in blocks if one is not block))

    def _left(self, blocks: _Blocks, frame: int) -> _Block | None:
        """The block that is being left: the innermost that the same function entered, here or in another context.

        The function that leaves differs only if an `ExitStack` or the like is in between.
        """
        here = [block for block in reversed(blocks) if block.owner is self]
        found = next((block for block in here if block.frame == frame), None)
        if found is not None:
            return found
        elsewhere = [block for block in reversed(list(self._entered)) if block not in here]
        found = next((block for block in elsewhere if block.frame == frame), None)
        return found or next(iter((*here, *elsewhere)), None)

    def _inner(self, outer: Attribution) -> Attribution:
        return Attribution(
            outer.feature if self._feature is None else self._feature,
            outer.user if self._user is None else self._user,
            outer.task if self._limits == _NO_TASK else Task(next(_task_numbers), *self._limits),
        )

    def _again(self) -> attribution:
        """Return a new block with the same values, for one run of a decorated function."""
        task, max_calls, max_usd = self._limits
        return attribution(feature=self._feature, user=self._user, task=task, max_calls=max_calls, max_usd=max_usd)

    @staticmethod
    def bind(function: _F) -> _F:
        """Return `function` bound to the current block: for a callback, another thread, a task, or a later call.

        The running task of the block goes along too. Takes any kind of function: plain, async or a generator.

        Raises:
            ConfigurationError: it is not a function, nor anything else that can be called.
        """
        return _wrapped(function, _Carried(current()))

    def __call__(self, function: _F) -> _F:
        """Decorate a plain, async, generator or async generator function."""
        if isinstance(function, type):
            raise ConfigurationError(f"attribution: decorate functions and methods, not the class {function.__name__}")
        return _wrapped(function, self)


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
        entered_blocks.reset(block.token)  # type: ignore[arg-type]  # set by whoever entered it
    except (ValueError, RuntimeError):
        return False
    return True


def _wrapped(function: _F, block: attribution) -> _F:
    """`function` in the block, as an object of the same kind, because frameworks check the kind."""
    if isinstance(function, classmethod | staticmethod):
        return type(function)(_wrapped(function.__func__, block))
    if not callable(function):
        raise ConfigurationError(f"attribution: expected a function, not an object of type {type(function).__name__}")
    return functools.wraps(function)(_wrapper(function, block))  # type: ignore[return-value]


def _wrapper(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    if _is(inspect.iscoroutinefunction, function):
        return _coroutine(function, block)
    if _is(inspect.isasyncgenfunction, function):
        return _async_generator(function, block)
    return (_generator if _is(_makes_generators, function) else _plain)(function, block)


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function is of this kind, or the `__call__` of an object that is used as a function."""
    while isinstance(function, functools.partial):
        function = function.func
    return kind(function) or kind(type(function).__call__)


def _makes_generators(function: Any) -> bool:
    """Whether calling it makes a generator, and not a coroutine of the old style, which `types.coroutine` marks."""
    return inspect.isgeneratorfunction(function) and not function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE


def _plain(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block._again() as value:  # noqa: SLF001 - this module's own
            result = function(*args, **kwargs)
        return _continued(result, _Carried(value))

    return wrapper


def _continued(result: Any, block: attribution) -> Any:
    """What a function returned, in its block if it has yet to run: another decorator hides what kind it is."""
    if _is_coroutine(result):
        return _awaited(result, block)
    if type(result) is types.GeneratorType and inspect.getgeneratorstate(result) == inspect.GEN_CREATED:
        return _generator(lambda: result, block)()
    if type(result) is types.AsyncGeneratorType and not result.ag_running:
        return _async_generator(lambda: result, block)()
    return result


def _is_coroutine(result: Any) -> bool:
    kind = type(result)  # `isinstance` would ask the `__class__` of lazy proxies
    is_old_style = kind is types.GeneratorType and result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE
    return bool(is_old_style) or issubclass(kind, Coroutine)


async def _awaited(coroutine: Any, block: attribution) -> Any:
    with block:
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
            self._inside = entered_blocks.get()
        self._outside = entered_blocks.get()

    def __enter__(self) -> None:
        self._outside = entered_blocks.get()
        entered_blocks.set(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = entered_blocks.get()
        entered_blocks.set(self._outside)


def _generator(function: Callable[..., Any], block: attribution) -> Callable[..., Any]:
    """Run a generator one step at a time; whatever its consumer throws in, `GeneratorExit` too, reaches it."""

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
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator to handle
                resume = functools.partial(generator.athrow, error)

    return wrapper
