"""An application with a Guard and remedies, as a process of its own that calls the fake API through the real SDK.

Arguments: the address of the API, Alertmanager's address to ask or "", a token file or "". It says the address of its
/metrics, then of each feature whenever that begins to pass or to be blocked, and by what.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import anthropic

from anthropic_exporter import Recorder, SpendLimitExceeded, attribution, serve
from anthropic_exporter.guard import Guard
from anthropic_exporter.remedies import Remedies

#: What a feature asks: chat spends about 0.03 USD a call, search next to nothing.
ASKS = {"chat": ("x" * 24_000, 50), "search": ("x", 1)}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def state(client: anthropic.Anthropic, feature: str) -> str:
    content, most = ASKS[feature]
    try:
        with attribution(feature=feature):
            messages = [{"role": "user", "content": content}]
            client.messages.create(model="claude-opus-5-5", max_tokens=most, messages=messages)  # type: ignore[arg-type]
    except SpendLimitExceeded as error:
        return f"blocked {feature} {error.reason} {error.limit}"
    return f"passes {feature}"


def main(api: str, alertmanager: str, token_file: str) -> None:
    recorder = Recorder(registry=None)
    guard = Guard(recorder)
    guard.breaker(action="block", when=[])  # opened by remedies alone
    remedies = Remedies(recorder, guard=guard, token_file=token_file or None)
    remedies.open_breaker(features=["chat"])
    client = anthropic.Anthropic(api_key="sk-ant-none", base_url=api, middleware=[recorder.middleware()])
    with serve(recorder, port=0, remedies=remedies if token_file else None) as server:
        say(f"127.0.0.1:{server.port}")
        if alertmanager:
            remedies.watch(alertmanager)
        said: dict[Any, Any] = {}
        while True:
            for feature in ASKS:
                now = state(client, feature)
                if said.get(feature) != now:
                    said[feature] = now
                    say(now)
            time.sleep(0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
