"""Splits the bytes of a stream into complete events, in linear time for any size of chunks."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

#: Larger events and bodies are not read: no response of the API reaches a tenth of it.
MOST_BYTES = 64 * 1024 * 1024
BLANK_LINE = b"\n\n"
# The second spelling is the first without its name: as an optional part it would take three times as long.
_DATA = rb'data: ?\{"type": ?"content_block_delta"'
_DELTA = rb"(?:event: content_block_delta\n" + _DATA + rb"|" + _DATA + rb")"
#: A content delta as the API spells it. Other spellings are read too, but more slowly.
IS_DELTA = re.compile(_DELTA).match
_BEFORE_OTHERS = re.compile(rb"\n\n(?!" + _DELTA + rb")")
_LENGTH_BYTES = 4
_decoded = json.JSONDecoder().decode


def _parsed(data: bytes) -> Any:
    return _decoded(data.decode())


try:  # the SDK brings it: it takes a half to an eighth of the time
    import jiter
except ImportError:
    pass
else:
    _parsed = functools.partial(jiter.from_json, cache_mode="keys")  # and keeps no text of an answer


class Splitter(Protocol):
    """Cuts chunks into runs: one whole event each, with the content deltas that follow it."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The runs that this chunk completes.

        Raises:
            ValueError: the bytes cannot be read, or an event is larger than `MOST_BYTES`.
        """

    def finish(self) -> list[bytes]:
        """The runs that the end of the stream completes."""


class OversizedError(ValueError):
    """An event or a body is larger than `MOST_BYTES`."""


class SseSplitter:
    """Server-sent events. Line ends may be LF, CRLF or CR.

    Content deltas stay with the event before them, blank lines between: nearly all events are deltas, and cutting each
    out would take three times as long. Bytes of an unfinished event are kept in a list and joined once.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._return = b""  # a CR at the end of the last chunk: an LF may follow

    def feed(self, chunk: bytes) -> list[bytes]:
        """The runs that this chunk completes."""
        if self._return or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        parts = self._parts
        ends = BLANK_LINE in chunk or (chunk.startswith(b"\n") and parts and parts[-1].endswith(b"\n"))
        if not ends:
            return self._keep(chunk)
        *runs, last = _BEFORE_OTHERS.split(b"".join((*parts, chunk)))
        *events, rest = last.split(BLANK_LINE)
        parts.clear()
        self._size = 0
        self._keep(rest)
        return [*runs, BLANK_LINE.join(events)] if events else runs

    def finish(self) -> list[bytes]:
        """A blank line of CRs is complete once nothing follows it."""
        return self.feed(b"\n") if self._return else []

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        chunk, self._return = self._return + chunk, b""
        if chunk.endswith(b"\r"):
            chunk, self._return = chunk[:-1], b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> list[bytes]:
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > MOST_BYTES:
                raise OversizedError("an event is too large to be read")
        return []


class AwsSplitter:
    """Messages of `application/vnd.amazon.eventstream`, which AnthropicBedrock speaks; that client brings botocore."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer  # noqa: PLC0415 - only there with that client

        self._buffer = EventStreamBuffer()
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk completes."""
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            raise OversizedError("a message is too large to be read")
        found: list[bytes] = []
        while self._is_whole():
            data = b"".join(self._parts)
            length = max(int.from_bytes(data[:_LENGTH_BYTES], "big"), 1)
            self._parts, self._size = [data[length:]], len(data) - length
            self._buffer.add_data(data[:length])
            found += [b"event: %b\ndata: %b" % event for event in _aws_events(self._buffer)]
        return found

    def finish(self) -> list[bytes]:
        """Nothing: each message says how long it is."""
        return []

    def _is_whole(self) -> bool:
        """Whether the first message is all there."""
        if self._size < _LENGTH_BYTES:
            return False
        if len(self._parts[0]) < _LENGTH_BYTES:
            self._parts = [b"".join(self._parts)]
        return self._size >= int.from_bytes(self._parts[0][:_LENGTH_BYTES], "big")


def name_and_data(event: bytes) -> tuple[bytes, bytes]:
    """The two fields of an event that matter; a field that is absent is empty."""
    name, data = b"", []
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            name = line[6:].strip()
        elif line.startswith(b"data:"):
            data.append(line[5:].strip())
    return name, b"\n".join(data)


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_value(data: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the bytes are not JSON.
    """
    try:
        return _parsed(data)
    except (ValueError, RecursionError):  # in another encoding, perhaps: `json.loads` looks for those, and takes longer
        return _loaded(data)


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the bytes are not a JSON object.
    """
    value = json_value(data)
    if not isinstance(value, dict):
        raise ValueError("an event's data is not a JSON object")  # noqa: TRY004 - malformed data, not a wrong argument
    return value


def _aws_events(messages: Iterable[Any]) -> Iterator[tuple[bytes, bytes]]:
    for message in messages:
        if message.headers.get(":message-type") == "event":
            data = base64.b64decode(json_object(message.payload).get("bytes", b""))
            yield str(json_object(data).get("type")).encode(), data.replace(b"\n", b" ")
        else:  # an exception or error frame: named by its headers, the SDK raises it as an error event
            kind = message.headers.get(":exception-type") or message.headers.get(":error-code")
            yield b"error", json.dumps({"error": {"type": kind}}).encode()
