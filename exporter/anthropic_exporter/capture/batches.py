"""Message batches: reads usage when the application reads the results, one JSON line per request.

A result counts tokens and dollars at batch prices and is no request. Reading results twice counts them once.
Source: platform.claude.com/docs, batch processing, read 2026-11-21.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from typing import Any

from anthropic_exporter.attribution import current
from anthropic_exporter.call import Call
from anthropic_exporter.recording.calls import call_of, outcome_of
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.decompress import Inflate, inflater
from anthropic_exporter.wire.usage import read_message

_BATCHES = "/v1/messages/batches/"
_RESULTS = "/results"
_OK = 200


def batch_of_results(path: str) -> str:
    """The id of the batch whose results are read at this path; empty for any other path."""
    _, found, rest = path.partition(_BATCHES)
    return rest[: -len(_RESULTS)] if found and rest.endswith(_RESULTS) else ""


def is_about_batches(path: str) -> bool:
    """Whether a path creates, lists or looks up batches."""
    return _BATCHES[:-1] in path


class BatchLookup:
    """A response that may say when a batch was created, whose day determines its prices. It contains no tokens."""

    def __init__(self, recorder: Intake) -> None:
        self._recorder = recorder

    def head(self, status: int, headers: Any, path: bytes, *, buffered: bool) -> None:
        """Nothing is read from the status and the headers."""

    def body(self, content: bytes) -> None:
        """The whole body: one batch, or something else."""
        batch = json.loads(content)
        if isinstance(batch, Mapping) and batch.get("type") == "message_batch":
            made = dt.datetime.fromisoformat(str(batch.get("created_at")).replace("Z", "+00:00"))
            self._recorder.seen.created(str(batch.get("id")), made.timestamp())

    def raised(self, error: BaseException) -> None:
        """Nothing came."""

    def forget(self) -> None:
        """Nothing can be read."""


class BatchResults:
    """Reads the results of one batch line by line as they pass. The tee treats it like an `Attempt`.

    Args:
        recorder: where the calls go.
        batch: the id of the batch.
    """

    def __init__(self, recorder: Intake, batch: str) -> None:
        self._recorder = recorder
        self._batch = batch
        self._where = current()
        self._made = recorder.seen.created_at(batch, time.time())
        self._inflate: Inflate | None = None
        self._reading = False
        self._line: list[bytes] = []
        self.tail: list[bytes] = []

    def head(self, status: int, headers: Any, path: bytes, *, buffered: bool) -> None:  # noqa: ARG002 - as in Attempt
        """The response's status and headers came. `buffered`: its body was already read and decompressed."""
        self._reading = status == _OK
        self._inflate = inflater("" if buffered else headers.get("content-encoding", ""))

    def body(self, content: bytes) -> None:
        """All results were there at once, already decompressed."""
        self.feed(content)
        self.ended()

    def feed(self, chunk: bytes) -> bool:
        """A chunk came. True once nothing is read any more."""
        try:
            if self._reading:
                self._read(chunk if self._inflate is None else self._inflate(chunk))
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._reading = False
            self._recorder.failed("batch", error)
        return not self._reading

    def compact(self) -> list[bytes]:
        """Drop chunks that are not needed."""
        self.tail.clear()
        return self.tail

    def ended(self) -> None:
        """The body ended by itself; the last line needs no line end."""
        if self._reading:
            self.feed(b"\n")

    def closed(self) -> None:
        """The application stopped reading. What passed is counted; the rest will be when it is read."""

    def raised(self, error: BaseException) -> None:
        """The connection broke, as `closed`."""

    def forget(self) -> None:
        """The response cannot be read."""
        self._reading = False

    def _read(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = b"".join((*self._line, line))
            self._line.clear()
            if whole.strip():
                self._result(whole)
        self._line.append(rest)

    def _result(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            message = answer["result"].get("message")
            if isinstance(message, Mapping) and self._recorder.seen.first_time(self._batch, str(answer["custom_id"])):
                self._recorder.record(self._call(message))
        except Exception as error:  # noqa: BLE001 - one bad line must not lose the next
            self._recorder.failed("batch", error)

    def _call(self, message: Mapping[str, Any]) -> Call:
        reading = read_message(message, "")
        self._recorder.malformed("usage", reading.malformed)
        return call_of(
            reading,
            self._where,
            self._made,
            outcome=outcome_of(reading),
            tier="batch",
            requests=0,
        )
