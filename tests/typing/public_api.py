"""What a type checker sees of the public API. `test_public_typing.py` runs mypy on this file; it is never imported."""

from __future__ import annotations

from collections.abc import Callable

from anthropic import Anthropic, AsyncAnthropic
from typing_extensions import assert_type

from anthropic_exporter import Call, ConfigurationError, Recorder, ServiceHandle, attribution, instrument, serve
from anthropic_exporter.guard import Alert, Guard

recorder = Recorder(features=["chat"], models=["claude-sonnet-4-6"], strict=True)
client = Anthropic(middleware=[recorder.middleware()])
async_client = AsyncAnthropic(middleware=[recorder.middleware()])

assert_type(serve(recorder, port=0), ServiceHandle)
assert_type(recorder.render(openmetrics=True), bytes)
assert_type(recorder.subscribe(lambda call: None), Callable[[], None])
assert_type(instrument(recorder), Callable[[], None])

with attribution(feature="summarise", user="acme"):
    recorder.record(Call("claude-sonnet-4-6"))


@attribution(feature="chat")
def answer(question: str) -> int:
    return len(question)


@attribution(feature="chat")
async def answer_later(question: str) -> int:
    return len(question)


assert_type(answer("why"), int)


def page(alert: Alert) -> None:
    assert_type(alert, Alert)


guard = Guard(recorder)
guard.on_alert(page)
guard.breaker(scope="feature", when=["cost_rate"], action="block")

try:
    serve(recorder, port=-1)
except ConfigurationError as error:
    assert_type(error, ConfigurationError)

Recorder(feature="chat")  # type: ignore[call-arg]
serve(recorder, 9464)  # type: ignore[call-arg]
recorder.record("a call")  # type: ignore[arg-type]
attribution(feature="chat", user=1)  # type: ignore[arg-type]
