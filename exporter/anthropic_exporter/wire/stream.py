"""Bytes of a streamed response into one folded message, without parsing what the application is waiting for.

Until the first content delta every event is looked at as it passes. From then on chunks are only kept, and read in one
go when the stream ends or every `COMPACT_CHUNKS` chunks; only the few events that carry usage are ever parsed.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anthropic_exporter.wire.decompress import Inflate, inflater
from anthropic_exporter.wire.usage import error_type, fold_event

#: A tail of so many chunks is read, so that a long stream does not pile up.
COMPACT_CHUNKS = 512
_DELTA = b"content_block_delta"
_DELTA_LINE = b"event: content_block_delta"
_BLANK_LINE = b"\n\n"
_BEFORE_OTHERS = re.compile(rb"\n\n(?!event: content_block_delta\n)")
_FOLDED = (b"message_start", b"message_delta")
# The end of the delta's own type, behind that of the event; the text's key stands between it and the text. The server
# pads events with spaces behind the text, so that their length says nothing.
_DELTA_TYPE = b'_delta"'
_BEHIND_THE_EVENTS_TYPE = 66
_TYPE_AND_KEY_BYTES = 17
_BYTES_A_TOKEN = 4  # of English text
_STATUS_OF_A_FAILURE = 500

#: Bytes into whole server-sent events, each with the content deltas right behind it, and what is left.
Splitter = Callable[[bytes], tuple[list[bytes], bytes]]


class StreamFold:
    """Folds one streamed response. Feed it bytes as they come; read `message` after `close()`.

    Attributes:
        message: the message so far, as the JSON body would have said it.
        stopped: `message_stop` was seen: the stream is complete.
        final_usage: a `message_delta` with usage was seen: output tokens are the server's count up to there.
        error: `error.type` of an error event inside the stream, or empty.
        malformed: events that could not be read; they are passed over.
        tail: chunks that nobody has read yet.
    """

    def __init__(self, split: Splitter, inflate: Inflate | None = None) -> None:
        self.message: dict[str, Any] = {}
        self.stopped = False
        self.final_usage = False
        self.started_content = False
        self.error = ""
        self.malformed = 0
        self.tail: list[bytes] = []
        self._split = split
        self._inflate = inflate
        self._rest = b""
        #: About how many output tokens have passed since the server last counted them.
        self.estimated_output_tokens = 0

    def feed(self, chunk: bytes) -> bool:
        """Read a chunk now. True from the first content delta on: keep later chunks in `tail` and call `compact`."""
        if self._inflate is not None:
            chunk = self._inflate(chunk)
        self._read(chunk)
        return self.started_content

    def _read(self, chunk: bytes) -> None:
        runs, self._rest = self._split(self._rest + chunk)
        uncounted = 0  # runs whose deltas the server has not counted; in a stream that ends well, there is none
        for index, run in enumerate(runs):
            end = run.find(_BLANK_LINE)
            event = run if end < 0 else run[:end]
            if event.startswith(_DELTA_LINE):
                self.started_content = True
                continue
            try:
                if self._counts_output(*_name_and_data(event)):
                    uncounted = index
            except ValueError:
                self.malformed += 1
            self.started_content = self.started_content or end >= 0
        for run in runs[uncounted:]:
            self.estimated_output_tokens += sum(map(_estimated_tokens, run.split(_BLANK_LINE)))

    def compact(self) -> None:
        """Read what `tail` holds, so that it stays short."""
        self._drain()

    def close(self) -> None:
        """Read everything that is left. Idempotent."""
        self._drain()
        if self._rest.endswith(b"\r"):  # nothing followed that would have made it CR LF
            self._read(b"\n")

    def _drain(self) -> None:
        kept, self.tail[:] = b"".join(self.tail), ()
        if kept:
            self.feed(kept)

    def _counts_output(self, name: bytes, data: bytes) -> bool:
        """Read one of the other events. True where the server counted the output up to here."""
        if name in _FOLDED:
            return self._fold(_object(data), final=name == b"message_delta")
        if name == b"message_stop":
            self.stopped = True
        elif name == b"error":
            self.error = error_type(_object(data), _STATUS_OF_A_FAILURE)
        elif name == _DELTA:
            self.started_content = True
        return False

    def _fold(self, event: dict[str, Any], *, final: bool) -> bool:
        fold_event(self.message, event)
        usage = event.get("usage")
        if not final or not isinstance(usage, dict) or usage.get("output_tokens") is None:
            return False
        self.final_usage, self.estimated_output_tokens = True, 0
        return True


class JsonFold(StreamFold):
    """Collects a JSON body that the application reads in its own time; `stopped` once it was whole."""

    def __init__(self, inflate: Inflate | None = None) -> None:
        super().__init__(lambda _: ([], b""), inflate)

    def feed(self, chunk: bytes) -> bool:
        """Keep the chunk; nothing is read before the end."""
        self.tail.append(chunk)
        return True

    def compact(self) -> None:
        """Do nothing: a JSON body is read whole."""

    def close(self) -> None:
        """Parse what came. Idempotent. Part of a body is not JSON: it leaves `stopped` unset."""
        body, self.tail[:] = b"".join(self.tail), ()
        if not body:
            return
        try:
            self.message = _object(body if self._inflate is None else self._inflate(body))
        except (ValueError, zlib.error):
            self.malformed += 1
        else:
            self.stopped = self.final_usage = True


def sse_stream(encoding: str) -> StreamFold:
    """A fold for `text/event-stream`. `encoding` is the response's content-encoding."""
    return StreamFold(split_sse, inflater(encoding))


def aws_stream(encoding: str) -> StreamFold:
    """A fold for `application/vnd.amazon.eventstream`, which AnthropicBedrock speaks; that client brings botocore."""
    from botocore.eventstream import EventStreamBuffer  # noqa: PLC0415 - only there with that client

    buffer = EventStreamBuffer()

    def split(data: bytes) -> tuple[list[bytes], bytes]:
        buffer.add_data(data)
        return [b"event: %b\ndata: %b" % event for event in _aws_events(buffer)], b""

    return StreamFold(split, inflater(encoding))


def split_sse(data: bytes) -> tuple[list[bytes], bytes]:
    """Complete events of `data`, and the bytes after the last of them. Line ends may be LF, CRLF or CR.

    Content deltas stay with the event before them, blank lines between: nearly all events are deltas, and cutting each
    out would take three times as long.
    """
    held = b""
    if b"\r" in data:
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *runs, last = _BEFORE_OTHERS.split(data)
    *events, rest = last.split(_BLANK_LINE)
    return [*runs, _BLANK_LINE.join(events)] if events else runs, rest + held


def _name_and_data(event: bytes) -> tuple[bytes, bytes]:
    name, data = b"", []
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            name = line[6:].strip()
        elif line.startswith(b"data:"):
            data.append(line[5:].strip())
    return name, b"\n".join(data)


def _aws_events(messages: Iterable[Any]) -> Iterator[tuple[bytes, bytes]]:
    for message in messages:
        if message.headers.get(":message-type") == "event":
            data = base64.b64decode(_object(message.payload).get("bytes", b""))
            yield str(_object(data).get("type")).encode(), data.replace(b"\n", b" ")
        else:  # an exception or error frame: named by its headers, the SDK raises it as an error event
            kind = message.headers.get(":exception-type") or message.headers.get(":error-code")
            yield b"error", json.dumps({"error": {"type": kind}}).encode()


def _estimated_tokens(delta: bytes) -> int:
    """About the tokens of an event: none but in a content delta, at least one there, unless it is a signature."""
    if not delta.startswith(_DELTA_LINE) and _name_and_data(delta)[0] != _DELTA:
        return 0
    kind = delta.find(_DELTA_TYPE, _BEHIND_THE_EVENTS_TYPE)
    if delta.endswith(b"signature", 0, max(kind, 0)):
        return 0
    return max(1, (delta.rfind(b'"') - kind - _TYPE_AND_KEY_BYTES) // _BYTES_A_TOKEN)


_decoded = json.JSONDecoder().decode


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = _decoded(data.decode())
    except ValueError:  # in another encoding, perhaps: `json.loads` looks for those first, and takes longer
        value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("an event's data is no JSON object")  # noqa: TRY004 - malformed data, not a wrong argument
    return value


class Unread(StreamFold):
    """What was read before reading failed; takes no more."""

    def __init__(self, read: StreamFold) -> None:
        super().__init__(lambda _: ([], b""))
        self.message, self.error, self.final_usage = read.message, read.error, read.final_usage
        self.stopped, self.started_content = read.stopped, read.started_content
        self.estimated_output_tokens = read.estimated_output_tokens

    def feed(self, chunk: bytes) -> bool:  # noqa: ARG002 - as its base
        """Look at nothing."""
        return True

    def _drain(self) -> None:
        self.tail.clear()
