"""The routes of the fake API as an ASGI application."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from anthropic_exporter.simulator.fake_api import answers, cache, checks, wire
from anthropic_exporter.simulator.fake_api.behaviour import Chance
from anthropic_exporter.simulator.fake_api.limits import RateLimits
from anthropic_exporter.simulator.fake_api.script import ReceivedRequest, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request

    from anthropic_exporter.simulator.fake_api.behaviour import Behaviour, Draw
    from anthropic_exporter.simulator.fake_api.script import Scripted

ORGANIZATION = "6f1c1c7e-0a52-4b7a-9a53-fake0000api0"
_GZIP_FROM_BYTES = 1000


class _Prepared(NamedTuple):
    """A request that passed all checks."""

    model: str
    workspace: str
    body: Mapping[str, Any]
    prompt: list[cache.Block]
    draw: Draw


class Service:
    """The state behind the routes: cache, limits, chance and script.

    `reset` drops the connection of the client at the given address.
    """

    def __init__(self, behaviour: Behaviour, reset: Callable[[Any], None], clock: Callable[[], float]) -> None:
        self.behaviour = behaviour
        self.chance = Chance(behaviour)
        self.cache = cache.PromptCache()
        self.limits = RateLimits(behaviour.limits)
        self.script = Script(behaviour.remembered)
        self._clock = clock
        self._reset = reset

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
                Route("/{path:path}", self._elsewhere, methods=["GET", "POST", "DELETE"]),
            ]
        )

    async def _messages(self, request: Request) -> Response:
        head, received = _head(), await _receive(request)
        if scripted := self.script.next(received):
            return self._play(scripted, request, head)
        try:
            prepared = self._prepare(received)
            self._admit(prepared, head)
        except checks.Refused as refused:
            return _refuse(refused, head)
        return await self._answer(prepared, received, head)

    async def _count_tokens(self, request: Request) -> Response:
        head, received = _head(), await _receive(request)
        if scripted := self.script.next(received):
            return self._play(scripted, request, head)
        try:
            checks.request(received, self.behaviour.api_keys)
            prompt = cache.blocks("", received.body)
        except checks.Refused as refused:
            return _refuse(refused, head)
        return _json({"input_tokens": prompt[-1].tokens if prompt else 0}, received, head)

    async def _elsewhere(self, request: Request) -> Response:
        head, received = _head(), await _receive(request)
        if scripted := self.script.next(received):
            return self._play(scripted, request, head)
        return _refuse(checks.Refused("not_found_error", "Not Found"), head)

    def _prepare(self, received: ReceivedRequest) -> _Prepared:
        workspace = checks.request(received, self.behaviour.api_keys)
        checks.message(received.body)
        try:
            prompt = cache.blocks(workspace, received.body)
        except cache.InvalidCacheControl as invalid:
            raise checks.Refused("invalid_request_error", str(invalid)) from invalid
        return _Prepared(received.body["model"], workspace, received.body, prompt, self.chance.draw())

    def _admit(self, prepared: _Prepared, head: dict[str, str]) -> None:
        bucket = (prepared.workspace, prepared.model, self._clock())
        wait = self.limits.wait(*bucket)
        if not wait:
            self.limits.take(*bucket, requests=1)
        head |= self.limits.headers(*bucket)
        checks.room(wait)
        checks.fault(prepared.draw.fault)

    async def _answer(self, prepared: _Prepared, received: ReceivedRequest, head: dict[str, str]) -> Response:
        started = self._clock()
        reading = self.cache.read(prepared.model, prepared.prompt, started)
        answer = answers.compose(prepared.body, reading, prepared.draw.output_tokens, self.behaviour.tool_rounds)
        await asyncio.sleep(prepared.draw.first_token_after)
        self.cache.store(reading, started)
        output = answer.usage["output_tokens"]
        uncached = reading.input + reading.write_5m + reading.write_1h
        self.limits.take(prepared.workspace, prepared.model, started, input_tokens=uncached, output_tokens=output)
        if prepared.body.get("stream"):
            head |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
            return StreamingResponse(self._stream(answer, prepared.draw), headers=head)
        await asyncio.sleep(output * prepared.draw.seconds_per_token)
        return _json(wire.message(answer), received, head)

    async def _stream(self, answer: wire.GeneratedAnswer, draw: Draw) -> AsyncIterator[bytes]:
        yield b"".join(wire.opening(answer))
        pause = self.behaviour.tokens_per_event * draw.seconds_per_token
        for delta in wire.deltas(answer, answer.usage["output_tokens"] // self.behaviour.tokens_per_event):
            await asyncio.sleep(pause)
            yield delta
        yield b"".join(wire.closing(answer))

    def _play(self, scripted: Scripted, request: Request, head: dict[str, str]) -> Response:
        if scripted.drop and not scripted.body:
            self._reset(request.client)
        headers = head | {name.lower(): value for name, value in scripted.headers.items()}
        return StreamingResponse(self._chunks(scripted, request.client), scripted.status, headers)

    async def _chunks(self, scripted: Scripted, client: Any) -> AsyncIterator[bytes]:
        for chunk in scripted.body:
            await asyncio.sleep(chunk.after)
            yield chunk.data
        if scripted.drop:
            await asyncio.sleep(0)
            self._reset(client)


def _head() -> dict[str, str]:
    return {"request-id": f"req_{uuid.uuid4().hex[:24]}", "anthropic-organization-id": ORGANIZATION}


async def _receive(request: Request) -> ReceivedRequest:
    raw = await request.body()
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    return ReceivedRequest(request.method, request.url.path, dict(request.headers), body)


def _refuse(refused: checks.Refused, head: dict[str, str]) -> Response:
    if refused.retry_after is not None:
        head |= {"retry-after": str(refused.retry_after)}
    content = wire.error(refused.error_type, refused.text, head["request-id"])
    return Response(json.dumps(content), refused.status, head, "application/json")


def _json(content: Mapping[str, Any], received: ReceivedRequest, head: dict[str, str]) -> Response:
    raw = json.dumps(content).encode()
    if len(raw) >= _GZIP_FROM_BYTES and "gzip" in received.headers.get("accept-encoding", ""):
        raw, head = gzip.compress(raw, 1), head | {"content-encoding": "gzip"}
    return Response(raw, 200, head, "application/json")
