"""The corpus as values: one YAML file a case, the recorded bytes beside it."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from anthropic_exporter.simulator.fake_api import Chunk, Scripted
from wire import independent

CASES = Path(__file__).with_name("cases")
KEYS = {
    *("about", "client", "options", "call", "request", "take", "until", "times", "modes", "at", "attribution"),
    *("answers", "raises", "served", "cache", "estimate", "billed", "metrics", "estimated_tokens"),
}
ANSWER_KEYS = {"file", "status", "headers", "gzip", "bytes_a_chunk", "cut_after", "drop", "pause_after", "frames"}
CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-jsonl",
    ".sse": "text/event-stream; charset=utf-8",
    ".html": "text/html",
}
#: How long a server is silent where a case is about somebody who does not wait for it.
SILENCE_SECONDS = 30.0


def load(path: Path) -> dict[str, Any]:
    """A case with its defaults and its folder; `answers` are all written out."""
    case = independent.with_defaults(yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    assert case.keys() <= KEYS, f"{path}: unknown keys {case.keys() - KEYS}"
    case["answers"] = [{"file": one} if isinstance(one, str) else one for one in case.get("answers", [])]
    assert all(one.keys() <= ANSWER_KEYS for one in case["answers"]), f"{path}: unknown keys of an answer"
    case["folder"] = path.parent
    return case


def load_all() -> dict[str, dict[str, Any]]:
    """Every case, by name."""
    return {str(path.relative_to(CASES).with_suffix("")): load(path) for path in sorted(CASES.rglob("*.yml"))}


def files(case: dict[str, Any]) -> list[Path]:
    """The recorded files that a case plays."""
    return [case["folder"] / one["file"] for one in case["answers"] if "file" in one]


def scripted(case: dict[str, Any], answer: dict[str, Any], base_url: str) -> Scripted:
    """One answer as the fake API plays it. Without a file there is no response at all."""
    if "file" not in answer:
        return Scripted(drop=True)
    file = case["folder"] / answer["file"]
    body, headers = file.read_bytes(), {"content-type": CONTENT_TYPES[file.suffix]}
    if file.suffix == ".json":
        body = body.replace(b"http://api.test", base_url.encode())
    if answer.get("frames") == "aws":
        body, headers["content-type"] = aws_frames(body), "application/vnd.amazon.eventstream"
    if answer.get("gzip"):
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    body = body[: answer.get("cut_after")]
    return Scripted(
        answer.get("status", 200), headers | answer.get("headers", {}), tuple(chunks(answer, body)), "drop" in answer
    )


def chunks(answer: dict[str, Any], body: bytes) -> Iterator[Chunk]:
    """The body in pieces, as the case wants them on the wire."""
    if "pause_after" in answer:
        yield Chunk(body[: answer["pause_after"]])
        yield Chunk(body[answer["pause_after"] :], after=SILENCE_SECONDS)
        return
    size = answer.get("bytes_a_chunk") or len(body) or 1
    for begin in range(0, len(body), size):
        yield Chunk(body[begin : begin + size])


def aws_frames(sse: bytes) -> bytes:
    """Events as Bedrock frames them: each in a `chunk` message; one named `*Exception` becomes an exception message.

    The binary form: Amazon Transcribe developer guide, *event stream encoding*, read 2026-11-21.
    """
    frames = []
    for block in sse.decode().strip().split("\n\n"):
        name, data = (line.partition(": ")[2] for line in block.split("\n"))
        if name.endswith("Exception"):
            frames.append(aws_frame({":message-type": "exception", ":exception-type": name}, data.encode()))
        else:
            payload = json.dumps({"bytes": base64.b64encode(data.encode()).decode()}).encode()
            frames.append(aws_frame({":message-type": "event", ":event-type": "chunk"}, payload))
    return b"".join(frames)


def aws_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message: lengths, their checksum, headers of type string, payload, the checksum of it all."""
    named = {**headers, ":content-type": "application/json"}
    packed = b"".join(
        struct.pack(f">B{len(key)}sBH{len(value)}s", len(key), key.encode(), 7, len(value), value.encode())
        for key, value in named.items()
    )
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack(">I", zlib.crc32(message))


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples of a text exposition by name and labels; a label with an empty value is the same as none."""
    return {
        (sample.name, frozenset((key, word) for key, word in sample.labels.items() if word)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
