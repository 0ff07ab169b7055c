from __future__ import annotations

import asyncio
import contextlib
import contextvars
import enum
import functools
import gc
import inspect
import threading
import types
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from anthropic_exporter import attribution
from anthropic_exporter.attribution import current
from anthropic_exporter.errors import ConfigurationError


def here() -> tuple[str, str]:
    """(feature, user) of the running block."""
    return current()[:2]


def test_a_nested_block_changes_only_what_it_names() -> None:
    with attribution(feature="chat", user="acme"):
        with attribution(user="umbrella"):
            assert here() == ("chat", "umbrella")
        assert here() == ("chat", "acme")
    assert here() == ("", "")


class Feature(str, enum.Enum):
    CHAT = "chat"


def test_a_name_from_an_enum_of_texts_is_its_text() -> None:
    with attribution(feature=Feature.CHAT, user=Feature.CHAT):
        assert here() == ("chat", "chat")


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "5", []])
def test_a_limit_that_is_not_a_positive_number_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a number above 0"):
        attribution(max_calls=limit)


def test_a_context_manager_attributes_its_body_by_a_block_around_the_yield() -> None:
    @contextlib.contextmanager
    def session() -> Iterator[None]:
        with attribution(feature="chat"):
            yield

    with session():
        assert here() == ("chat", "")
    assert here() == ("", "")


def test_a_block_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), attribution(feature="chat"):
        1 / 0  # noqa: B018 - what an application may do
    assert here() == ("", "")


def test_one_block_may_be_entered_many_times_and_by_many_threads() -> None:
    block, seen = attribution(feature="chat"), []

    def work() -> None:
        for _ in range(100):
            with block, block:
                seen.append(here())
        seen.append(here())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(("chat", "")) == 400
    assert seen.count(("", "")) == 4


async def test_it_holds_across_await_and_in_tasks() -> None:
    async def ask(feature: str) -> tuple[tuple[str, str], tuple[str, str]]:
        with attribution(feature=feature):
            await asyncio.sleep(0)
            inner = asyncio.create_task(asyncio.sleep(0, here()))
            return await inner, await nested()

    async def nested() -> tuple[str, str]:
        await asyncio.sleep(0)
        return here()

    assert await asyncio.gather(ask("a"), ask("b")) == [(("a", ""), ("a", "")), (("b", ""), ("b", ""))]  # type: ignore[comparison-overlap]
    assert here() == ("", "")


async def test_a_task_keeps_the_block_in_which_it_was_made() -> None:
    with attribution(feature="chat"):
        task = asyncio.create_task(asyncio.to_thread(here))
    assert await task == ("chat", "")


async def test_an_executor_with_a_copied_context_is_attributed_and_a_bare_one_is_not() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool, attribution(feature="chat", user="acme"):
        copied = contextvars.copy_context()
        assert await loop.run_in_executor(pool, copied.run, here) == ("chat", "acme")
        assert await loop.run_in_executor(pool, here) == ("", "")


def test_a_plain_thread_starts_unattributed() -> None:
    seen = []
    with attribution(feature="chat"):
        thread = threading.Thread(target=lambda: seen.append(here()))
        thread.start()
        thread.join()
    assert seen == [("", "")]


class TestDecorator:
    def test_a_function(self) -> None:
        @attribution(feature="chat")
        def answer(question: str) -> tuple[str, tuple[str, str]]:
            """Answer."""
            return question, here()

        assert answer("why") == ("why", ("chat", ""))
        assert (answer.__name__, answer.__doc__) == ("answer", "Answer.")
        assert here() == ("", "")

    async def test_a_coroutine(self) -> None:
        @attribution(feature="chat")
        async def answer() -> tuple[str, str]:
            await asyncio.sleep(0)
            return here()

        assert inspect.iscoroutinefunction(answer)
        assert await answer() == ("chat", "")

    def test_a_generator_is_attributed_while_it_runs_and_its_consumer_is_not(self) -> None:
        seen = []

        @attribution(feature="chat")
        def answers() -> Generator[int, Any, Any]:
            try:
                seen.append(here())
                with attribution(user="acme"):
                    got = yield 1
                    seen.append((got, here()))  # type: ignore[arg-type]
                    yield 2
                return 3
            finally:
                seen.append(here())

        def consumer() -> Generator[Any, Any, Any]:
            return (yield from answers())

        assert inspect.isgeneratorfunction(answers)
        running = consumer()
        assert (next(running), here()) == (1, ("", ""))
        assert (running.send("x"), here()) == (2, ("", ""))
        with pytest.raises(StopIteration) as stop:
            next(running)
        assert stop.value.value == 3
        assert seen == [("chat", ""), ("x", ("chat", "acme")), ("chat", "")]

    def test_a_generator_may_be_thrown_into_and_closed(self) -> None:
        seen = []

        @attribution(feature="chat")
        def answers() -> Generator[int | tuple[str, str], Any, Any]:
            try:
                yield 1
            except KeyError:
                yield here()
            finally:
                seen.append(here())

        running = answers()
        next(running)
        assert running.throw(KeyError()) == ("chat", "")
        running.close()
        assert (seen, here()) == ([("chat", "")], ("", ""))

    def test_a_generator_may_end_or_continue_where_it_is_closed(self) -> None:
        @attribution(feature="chat")
        def answers() -> Generator[Any, Any, Any]:
            try:
                yield 1
            except GeneratorExit:
                yield here()

        running = answers()
        next(running)
        assert running.throw(GeneratorExit()) == ("chat", "")
        another = answers()
        next(another)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            another.close()

    async def test_an_async_generator_may_continue_where_it_is_closed(self) -> None:
        @attribution(feature="chat")
        async def answers() -> AsyncGenerator[Any, Any]:
            try:
                yield 1
            except GeneratorExit:
                yield here()

        running = answers()
        await running.__anext__()
        assert await running.athrow(GeneratorExit()) == ("chat", "")
        await running.aclose()

    def test_class_methods_and_static_methods_in_either_order(self) -> None:
        class Bot:
            @attribution(feature="chat")
            @classmethod
            def outside(cls) -> Any:
                return cls.__name__, here()

            @classmethod
            @attribution(feature="chat")
            def inside(cls) -> Any:
                return cls.__name__, here()

            @attribution(feature="chat")
            @staticmethod
            def static() -> Any:
                return here()

        assert Bot.outside() == Bot().inside() == ("Bot", ("chat", ""))
        assert Bot.static() == Bot().static() == ("chat", "")

    @pytest.mark.parametrize("decorated", [int, property(here), None, "chat"], ids=lambda one: type(one).__name__)  # type: ignore[arg-type]
    def test_an_object_that_is_not_a_function_is_rejected_at_once(self, decorated: Any) -> None:
        with pytest.raises(ConfigurationError, match="attribution: "):
            attribution(feature="chat")(decorated)

    async def test_objects_and_partials_keep_the_kind_that_frameworks_ask_for(self) -> None:
        class Ask:
            async def __call__(self) -> Any:
                return here(), current().task.number

        class Stream:
            def __call__(self) -> Generator[Any, Any, Any]:
                yield here()

        class AsyncStream:
            async def __call__(self) -> AsyncGenerator[Any, Any]:
                yield here()

        block = attribution(feature="chat", task="agent", max_calls=3)
        asks = [block(Ask()), block(functools.partial(Ask()))]
        assert [inspect.iscoroutinefunction(one) for one in asks] == [True, True]
        assert [(await one())[0] for one in asks] == [("chat", "")] * 2  # type: ignore[operator]
        assert inspect.isgeneratorfunction(block(Stream()))
        assert list(block(Stream())()) == [("chat", "")]
        assert inspect.isasyncgenfunction(block(AsyncStream()))
        assert [one async for one in block(AsyncStream())()] == [("chat", "")]

    async def test_a_kind_that_another_decorator_hides_is_attributed_all_the_same(self) -> None:
        def hiding(function: Any) -> Any:
            @functools.wraps(function)
            def call() -> Any:
                return function()

            return call

        async def ask() -> Any:
            await asyncio.sleep(0)
            return here()

        @types.coroutine
        def ask_as_of_old() -> Generator[Any, Any, Any]:
            yield from asyncio.sleep(0).__await__()
            return here()

        block = attribution(feature="chat")
        assert [await block(hiding(one))() for one in (ask, ask_as_of_old)] == [("chat", "")] * 2
        assert await block(ask_as_of_old)() == ("chat", "")
        assert list(block(hiding(holding_nothing))()) == [("chat", "")]
        assert [one async for one in block(hiding(holding_nothing_async))()] == [("chat", "")]
        assert here() == ("", "")

    def test_a_generator_that_runs_already_is_returned_as_it_is(self) -> None:
        running = holding_nothing()
        next(running)
        assert attribution(feature="chat")(lambda: running)() is running

    def test_an_exception_of_a_generator_reaches_its_consumer(self) -> None:
        @attribution(feature="chat")
        def answers() -> Generator[int, Any, Any]:
            yield 1
            raise LookupError

        with pytest.raises(LookupError):
            list(answers())
        assert here() == ("", "")

    async def test_an_async_generator_is_attributed_while_it_runs_and_its_consumer_is_not(self) -> None:
        seen = []

        @attribution(feature="chat")
        async def answers() -> AsyncGenerator[tuple[str, str], Any]:
            try:
                with attribution(user="acme"):
                    await asyncio.sleep(0)
                    yield here()
                    await asyncio.sleep(0)
                    yield here()
            finally:
                seen.append(here())

        assert inspect.isasyncgenfunction(answers)
        found = [(one, here()) async for one in answers()]
        assert found == [(("chat", "acme"), ("", ""))] * 2
        assert seen == [("chat", "")]

    async def test_an_async_generator_may_be_sent_to_thrown_into_and_closed(self) -> None:
        @attribution(feature="chat")
        async def answers() -> AsyncGenerator[int | tuple[str, tuple[str, str]], Any]:
            got = yield 1
            try:
                yield got, here()
            except KeyError:
                yield "caught", here()

        running = answers()
        await running.__anext__()
        assert await running.asend("x") == ("x", ("chat", ""))
        assert await running.athrow(KeyError()) == ("caught", ("chat", ""))
        await running.aclose()
        assert here() == ("", "")

    async def test_each_run_of_a_generator_is_a_task_of_its_own(self) -> None:
        @attribution(task="agent", max_calls=3)
        def steps() -> Generator[int, Any, Any]:
            yield current().task.number
            yield current().task.number

        first, second = list(steps()), list(steps())
        assert first[0] == first[1] != second[0]


async def test_a_block_left_open_in_an_abandoned_async_generator_raises_nothing() -> None:
    """The event loop closes it in another task, where a token of the context variable would be refused."""
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

    async def answers() -> AsyncGenerator[tuple[str, str], Any]:
        with attribution(feature="chat"):
            yield here()
            yield here()

    async def begin() -> tuple[str, str]:
        running = answers()
        return await running.__anext__()

    assert await asyncio.create_task(begin()) == ("chat", "")
    for _ in range(5):
        gc.collect()
        await asyncio.sleep(0)
    assert failures == []
    assert here() == ("", "")


# -- a generator that holds a block, closed where nobody expects it


def holding(feature: str = "a") -> Generator[tuple[str, str], Any, Any]:
    with attribution(feature=feature):
        yield here()
        yield here()


async def holding_async(feature: str = "a") -> AsyncGenerator[tuple[str, str], Any]:
    with attribution(feature=feature):
        yield here()
        yield here()


def test_a_generator_that_is_closed_inside_another_block_leaves_that_block_alone() -> None:
    generator = holding()
    next(generator)
    with attribution(feature="b"):
        generator.close()
        assert here() == ("b", "")
    assert here() == ("", "")


def test_a_generator_that_is_closed_between_two_blocks_takes_its_own_away() -> None:
    with attribution(feature="outer"):
        first, second = holding("first"), holding("second")
        next(first)
        next(second)
        first.close()
        assert here() == ("second", "")
        second.close()
        assert here() == ("outer", "")
    assert here() == ("", "")


def test_a_generator_that_is_collected_inside_another_block_leaves_that_block_alone() -> None:
    generator = holding()
    next(generator)
    with attribution(feature="b"):
        del generator
        gc.collect()
        assert here() == ("b", "")
    assert here() == ("", "")


def test_a_generator_that_is_closed_by_another_thread_frees_the_one_that_opened_it() -> None:
    generator = holding()
    next(generator)
    assert here() == ("a", "")
    with ThreadPoolExecutor(1) as executor:
        executor.submit(generator.close).result()
        assert here() == ("", "")
        with attribution(user="u"):
            assert here() == ("", "u")


CHAT = attribution(feature="chat")


def holding_chat() -> Generator[Any, Any, Any]:
    with CHAT:
        yield here()
        yield here()


def test_one_block_that_two_functions_entered_is_left_by_the_one_that_ends() -> None:
    generator, found = holding_chat(), []
    next(generator)
    with attribution(feature="b"):
        with CHAT:
            generator.close()
            found.append(here())
        found.append(here())
    assert [*found, here()] == [("chat", ""), ("b", ""), ("", "")]


def test_one_block_that_a_generator_of_another_thread_entered_too_stays_where_that_one_is_closed() -> None:
    generator, found = holding_chat(), []
    next(generator)

    def work() -> None:
        with CHAT:
            generator.close()
            found.append(here())
        found.append(here())

    with ThreadPoolExecutor(1) as executor:
        executor.submit(work).result()
    assert [*found, here()] == [("chat", ""), ("", ""), ("", "")]


def test_one_block_is_left_by_an_exit_stack_wherever_that_is_closed() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(CHAT)
        with CHAT:
            pass
        kept = stack.pop_all()
    assert here() == ("chat", "")
    with ThreadPoolExecutor(1) as executor:
        executor.submit(kept.close).result()
    assert here() == ("", "")


async def test_an_async_generator_that_another_task_closes_frees_the_one_that_opened_it() -> None:
    generator = holding_async()
    await generator.__anext__()
    with attribution(feature="b"):
        await asyncio.create_task(generator.aclose())
        assert here() == ("b", "")
    assert here() == ("", "")


async def test_an_async_generator_that_is_left_to_the_collector_frees_the_task_that_opened_it() -> None:
    generator = holding_async()
    async for _ in generator:
        break
    del generator
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert here() == ("", "")


async def test_a_task_that_outlives_its_block_stays_in_it() -> None:
    go = asyncio.Event()

    async def later() -> tuple[str, str]:
        await go.wait()
        return here()

    with attribution(feature="chat"):
        task = asyncio.create_task(later())
    go.set()
    assert await task == ("chat", "")


# -- work that is carried


def test_a_bound_function_runs_in_the_block_in_which_it_was_bound() -> None:
    with attribution(feature="chat", user="acme", task="nightly", max_calls=3):
        bound, task = attribution.bind(current), current().task
    assert bound() == ("chat", "acme", task)
    with attribution(feature="other"):
        assert bound()[:2] == ("chat", "acme")
        assert here() == ("other", "")


def test_a_bound_function_takes_its_block_into_a_thread() -> None:
    with attribution(feature="chat"):
        bound = attribution.bind(here)
    with ThreadPoolExecutor(2) as executor:
        assert [one.result() for one in [executor.submit(bound), executor.submit(here)]] == [("chat", ""), ("", "")]


async def test_every_kind_of_function_can_be_bound() -> None:
    async def coroutine() -> tuple[str, str]:
        await asyncio.sleep(0)
        return here()

    class Callable:
        async def __call__(self) -> tuple[str, str]:
            await asyncio.sleep(0)
            return here()

    with attribution(feature="chat"):
        bound = [attribution.bind(one) for one in (coroutine, Callable(), holding_nothing, holding_nothing_async)]
    assert inspect.iscoroutinefunction(bound[0])
    assert [await bound[0](), await bound[1](), next(bound[2]())] == [("chat", "")] * 3  # type: ignore[arg-type, misc]
    assert [one async for one in bound[3]()] == [("chat", "")]  # type: ignore[union-attr]
    assert here() == ("", "")


def holding_nothing() -> Generator[tuple[str, str], Any, Any]:
    yield here()


async def holding_nothing_async() -> AsyncGenerator[tuple[str, str], Any]:
    yield here()


async def test_one_bound_function_may_run_many_times_at_once() -> None:
    async def ask() -> tuple[str, str]:
        await asyncio.sleep(0)
        return here()

    with attribution(feature="chat"):
        bound = attribution.bind(ask)
    assert await asyncio.gather(*[bound() for _ in range(20)]) == [("chat", "")] * 20
