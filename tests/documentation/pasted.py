"""Runs one block as a reader pastes it: in a process and a namespace of its own. Reads the job from standard input.

The only difference from a reader's process is the default port of `serve`, which must be free.
"""

from __future__ import annotations

import gzip
import json
import linecache
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY

import anthropic_exporter

if TYPE_CHECKING:
    import anthropic

ASK: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


def shown(name: str, **labels: str) -> float:
    """The sum of all samples of a name with these labels, in what this process exposes."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def get(port: int, path: str = "/metrics") -> str:
    """What a local server answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body = answer.read()
        return (gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body).decode()


def one_call(client: anthropic.Anthropic) -> anthropic.types.Message:
    """One call to the fake API."""
    return client.messages.create(**ASK)


def wait(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(job: dict[str, Any]) -> None:
    """Run what the page leaves out, the block with the names that it needs, and what looks at the result."""
    sys.path.insert(0, "")  # the reader's folder
    anthropic_exporter.serve.__kwdefaults__["port"] = job["port"]
    left_out: dict[str, Any] = {}
    exec(job["left_out"], left_out)
    space = {"__name__": "__main__"} | {name: left_out[name] for name in job["names"]}
    linecache.cache[job["page"]] = (len(job["text"]), None, job["text"].splitlines(keepends=True), job["page"])
    exec(compile("\n" * (job["line"] - 1) + job["text"], job["page"], "exec"), space)
    exec(job["then"], space | {"shown": shown, "get": get, "one_call": one_call, "wait": wait, "port": job["port"]})
    assert shown("anthropic_exporter_record_errors_total") == 0


run(json.load(sys.stdin))
