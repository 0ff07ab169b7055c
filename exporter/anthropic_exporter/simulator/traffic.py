"""The sample application at work: three features that call Claude through the real SDK, sync, async and streaming."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import threading
from typing import TYPE_CHECKING, Any

import anthropic

from anthropic_exporter.attribution import attribution
from anthropic_exporter.simulator.prompts import SEARCH, Prompts, results
from anthropic_exporter.simulator.workload import WORKLOAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from typing_extensions import Self

    from anthropic_exporter.recorder import Recorder
    from anthropic_exporter.simulator.workload import Feature, Incident, Workload

_MAX_ROUNDS = 40
_PATIENCE_SECONDS = 10.0


class Application:
    """Runs the features against `base_url` until closed; a context manager.

    Chat streams and the summariser does not; both share an event loop in one thread. The agent is a sync loop in a
    second thread. Arrivals are reproducible by seed.
    """

    def __init__(self, recorder: Recorder, base_url: str, *, workload: Workload = WORKLOAD, seed: int = 1) -> None:
        options: dict[str, Any] = {
            "api_key": "sk-ant-simulated",
            "base_url": base_url,
            "middleware": [recorder.middleware()],
        }
        self._options = options
        self._workload = workload
        self._seed = seed
        self._incident: Incident | None = None
        self._left = math.inf
        self._hurry = 1.0
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self._threads = [
            threading.Thread(target=self._run_async_features, name="sample-app-async", daemon=True),
            threading.Thread(target=self._run_agent, name="sample-app-agent", daemon=True),
        ]

    def deploy(self, incident: Incident | None, requests: float = math.inf) -> None:
        """Break the application as `incident` says; None repairs it. It also ends after `requests` stamped requests."""
        self._left, self._hurry = requests, 1.0
        self._incident = incident

    def fast_forward(self, times: float) -> None:
        """Multiply the rate of the broken feature by `times` until it is repaired."""
        self._hurry = times

    def start(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def close(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Stop within a bounded time: chat and summariser cancel requests in flight, the agent finishes its call."""
        self._stop.set()
        for thread in self._threads:
            thread.join(patience)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- chat and summariser

    def _run_async_features(self) -> None:
        asyncio.run(self._async_features())

    async def _async_features(self) -> None:
        async with anthropic.AsyncAnthropic(**self._options) as client:
            work = asyncio.create_task(self._chat_and_summarise(client))
            await asyncio.to_thread(self._stop.wait)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _chat_and_summarise(self, client: anthropic.AsyncAnthropic) -> None:
        chat, summarise = Prompts(self._workload.chat), Prompts(self._workload.summarise)
        await self._warm(client, chat)
        await asyncio.gather(
            self._arrivals(self._workload.chat, lambda user: self._chat(client, chat, user)),
            self._arrivals(self._workload.summarise, lambda user: self._summarise(client, summarise, user)),
        )

    async def _warm(self, client: anthropic.AsyncAnthropic, prompts: Prompts) -> None:
        """Write the cache once before concurrent requests read it; the documented way is `max_tokens: 0`."""
        with contextlib.suppress(anthropic.APIError), attribution(feature=self._workload.chat.name):
            await client.messages.create(**prompts.body(prompts.first(0), max_tokens=0))

    async def _arrivals(self, feature: Feature, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            async for user in self._users_as_they_come(feature):
                task = asyncio.create_task(work(user))
                running.add(task)
                task.add_done_callback(running.discard)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _users_as_they_come(self, feature: Feature) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for pause, user in self._schedule(feature):
            due += pause
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield user

    async def _chat(self, client: anthropic.AsyncAnthropic, prompts: Prompts, user: str) -> None:
        feature = self._workload.chat
        body = prompts.body(prompts.first(next(self._numbers)), stamped=self._stamped(feature))
        with contextlib.suppress(anthropic.APIError), attribution(feature=feature.name, user=user):
            async with client.messages.stream(**body) as stream:
                await stream.until_done()

    async def _summarise(self, client: anthropic.AsyncAnthropic, prompts: Prompts, user: str) -> None:
        feature = self._workload.summarise
        body = prompts.body(prompts.first(next(self._numbers)), stamped=self._stamped(feature))
        with contextlib.suppress(anthropic.APIError), attribution(feature=feature.name, user=user):
            await client.messages.create(**body)

    # -- agent

    def _run_agent(self) -> None:
        feature = self._workload.agent
        prompts = Prompts(feature)
        with anthropic.Anthropic(**self._options) as client:
            for pause, user in self._schedule(feature):
                if self._stop.wait(pause):
                    return
                with contextlib.suppress(anthropic.APIError), attribution(feature=feature.name, user=user):
                    self._task(client, prompts)

    def _task(self, client: anthropic.Anthropic, prompts: Prompts) -> None:
        """Ask, run the requested tools, and ask again until the model answers."""
        messages = prompts.first(next(self._numbers))
        for _ in range(_MAX_ROUNDS):
            body = prompts.body(messages, stamped=self._stamped(self._workload.agent))
            message = client.messages.create(**body, tools=[SEARCH])
            if message.stop_reason != "tool_use" or self._stop.is_set():
                return
            if not self._broken(self._workload.agent, "forgetful"):
                messages = [
                    *messages,
                    {
                        "role": "assistant",
                        "content": [block.model_dump(exclude_none=True) for block in message.content],
                    },
                    {"role": "user", "content": results(message.content)},
                ]

    # -- shared

    def _schedule(self, feature: Feature) -> Iterator[tuple[float, str]]:
        """Endless pauses in seconds, each with the user of the next request."""
        chance = random.Random(f"{self._seed} {feature.name}")  # noqa: S311 -- a simulation, repeatable on purpose
        while True:
            incident = self._incident
            rush = incident.rush if incident and incident.feature == feature.name else 1.0
            hurry = self._hurry if incident and incident.feature == feature.name else 1.0
            pause = chance.expovariate(feature.per_minute * rush * hurry / 60.0)
            user = chance.choice(feature.users)
            rushed = incident is not None and rush > 1.0 and chance.random() > 1.0 / rush
            yield pause, incident.user if incident and rushed else user

    def _stamped(self, feature: Feature) -> bool:
        """Whether the incident stamps this request; the last stamped request repairs the application."""
        if not self._broken(feature, "stamped"):
            return False
        self._left -= 1
        if self._left <= 0:
            self.deploy(None)
        return True

    def _broken(self, feature: Feature, how: str) -> bool:
        incident = self._incident
        return incident is not None and incident.feature == feature.name and bool(getattr(incident, how))
