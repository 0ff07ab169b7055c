"""Folds the bytes of a response body into one message, without parsing what the application is waiting for.

The first bytes tell what a body is, because some gateways send wrong headers: a JSON document, server-sent events, or
event-stream messages of AWS. The `type` in an event's data tells what the event is, because its name may be missing.

Until the first content delta, every event is read as it passes. From then on chunks are only kept, and read together
when the stream ends or every `COMPACT_CHUNKS` chunks; only the few events with usage are parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from anthropic_exporter.wire import events
from anthropic_exporter.wire.decompress import Inflate
from anthropic_exporter.wire.events import (
    BLANK_LINE,
    IS_DELTA,
    AwsSplitter,
    OversizedError,
    Splitter,
    SseSplitter,
    json_object,
    json_value,
    name_and_data,
)
from anthropic_exporter.wire.fallbacks import FALLBACK_BLOCKS
from anthropic_exporter.wire.outcomes import error_type, is_error
from anthropic_exporter.wire.usage import fold_event

#: A tail of this many chunks is read, so that a long stream does not accumulate.
COMPACT_CHUNKS = 512
_TYPE_FIRST = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]+)"').match
_EVENT_FIELD = re.compile(rb"(?:event|data|id|retry)?:").match
_BLANKS = b" \t\r\n\xef\xbb\xbf"
_KNOWN = frozenset({b"message_start", b"message_delta", b"message_stop", b"content_block_start", b"error"})
_DELTA = b"content_block_delta"
# The end of the delta's own type, behind that of the event; the text's key stands between it and the text. The server
# pads events with spaces behind the text, so that their length says nothing.
_EVENTS_TYPE = b'content_block_delta"'
_DELTA_TYPE = b'_delta"'
_TYPE_AND_KEY_BYTES = 17
_BYTES_A_TOKEN = 4  # of English text
_NO_STATUS = 0


class BodyFold:
    """Folds one response body. Feed it bytes as they come; read `message` after `close()`.

    Args:
        inflate: decompresses the bytes; None if they are plain.
        expects_stream: the request asked for a stream, or the headers promise one.

    Attributes:
        message: the message so far, as the JSON body would have said it.
        is_stream: the body is a stream of events.
        stopped: `message_stop` was seen, or the JSON document was whole: the answer is complete.
        final_usage: a `message_delta` with usage was seen: output tokens are the server's count up to there.
        error: the outcome of an error inside the body, or empty.
        malformed: events that could not be read; they are passed over.
        foreign: events that were read and are none of the API's.
        received: bytes that were read.
        folded_bytes: bytes of what was parsed, of which `message` was made.
        tail: chunks that have not been read yet.
    """

    def __init__(self, inflate: Inflate | None = None, *, expects_stream: bool = False) -> None:
        self.message: dict[str, Any] = {}
        self.is_stream = False
        self.stopped = False
        self.final_usage = False
        self.started_content = False
        self.error = ""
        self.malformed = 0
        self.foreign = 0
        self.received = 0
        self.folded_bytes = 0
        self.tail: list[bytes] = []
        self._inflate = inflate
        self._expects_stream = expects_stream
        self._reader: Callable[[bytes], bool] = self._choose
        self._splitter: Splitter | None = None
        self._document: list[bytes] = []
        #: About how many output tokens have passed since the server last counted them.
        self.estimated_output_tokens = 0

    def feed(self, chunk: bytes) -> bool:
        """Read a chunk now. True once later chunks may be kept in `tail` until `compact` is called.

        Raises:
            ValueError: the bytes cannot be read, or there are too many of them.
        """
        if self._inflate is not None:
            chunk = self._inflate(chunk)
        self.received += len(chunk)
        return self._reader(chunk)

    def compact(self) -> None:
        """Read the chunks in `tail`, so that it stays short."""
        self._drain()

    def close(self) -> None:
        """Read everything that is left. Idempotent."""
        self._drain()
        if self._splitter is not None:
            self._read_runs(self._splitter.finish())
        elif self._document:
            document, self._document = b"".join(self._document), []
            self._read_document(document)

    def _drain(self) -> None:
        kept, self.tail[:] = self.tail[:], ()
        for chunk in kept if self._inflate is not None else [b"".join(kept)] if kept else ():
            self.feed(chunk)

    # -- what the body is

    def _choose(self, chunk: bytes) -> bool:
        text = chunk.lstrip(_BLANKS)
        if not text:
            return False
        if text.startswith(b"\0"):
            self._splitter = AwsSplitter()
        elif not text.startswith((b"{", b"[")) and (self._expects_stream or _EVENT_FIELD(text)):
            self._splitter = SseSplitter()
        self.is_stream = self._splitter is not None
        self._reader = self._read_events if self.is_stream else self._keep_document
        return self._reader(text)

    # -- a JSON document, which the application reads in its own time

    def _keep_document(self, chunk: bytes) -> bool:
        self._document.append(chunk)
        if self.received > events.MOST_BYTES:
            self._document.clear()
            raise OversizedError("a body is too large to be read")
        return True

    def _read_document(self, document: bytes) -> None:
        """Part of a document is not JSON: it leaves `stopped` unset."""
        try:
            self.message = json_object(document)
            self.folded_bytes = len(document)
        except ValueError:
            self.error = _listed_error(document)
            self.malformed += not self.error
            return
        self.stopped = self.final_usage = True
        if is_error(self.message):
            self.error = error_type(self.message, _NO_STATUS)

    # -- a stream

    def _read_events(self, chunk: bytes) -> bool:
        self._read_runs(self._splitter.feed(chunk))  # type: ignore[union-attr]  # chosen with this reader
        return self.started_content

    def _read_runs(self, runs: list[bytes]) -> None:
        uncounted = 0  # runs whose deltas the server has not counted; in a stream that ends well, there is none
        for index, run in enumerate(runs):
            end = run.find(BLANK_LINE)
            event = run if end < 0 else run[:end]
            if IS_DELTA(event):
                self.started_content = True
                continue
            try:
                if self._counts_output(event):
                    uncounted = index
            except ValueError:
                self.malformed += 1
            self.started_content = self.started_content or end >= 0
        for run in runs[uncounted:]:
            self.estimated_output_tokens += sum(map(_estimated_tokens, run.split(BLANK_LINE)))

    def _counts_output(self, event: bytes) -> bool:
        """Read one of the other events. True where the server counted the output up to here."""
        self.folded_bytes += len(event)
        name, data = name_and_data(event)
        kind = _kind(name, data)
        if kind == b"message_start":
            fold_event(self.message, json_object(data))
        elif kind == b"message_delta":
            return self._ends(json_object(data))
        elif kind == b"message_stop":
            self.stopped = True
        elif kind == b"error":
            self.error = _error_in(data)
        elif kind == b"content_block_start":
            self._keep_fallback(data)
        elif kind == _DELTA:
            self.started_content = True
        elif kind:
            self.foreign += 1
        return False

    def _ends(self, event: dict[str, Any]) -> bool:
        fold_event(self.message, event)
        usage = event.get("usage")
        if not isinstance(usage, dict) or usage.get("output_tokens") is None:
            return False
        self.final_usage, self.estimated_output_tokens = True, 0
        return True

    def _keep_fallback(self, data: bytes) -> None:
        """Keep the block that says why a model declined: a declined attempt may be free."""
        if b'"fallback"' in data:
            block = json_object(data).get("content_block")
            if isinstance(block, dict) and block.get("type") == "fallback":
                self.message.setdefault(FALLBACK_BLOCKS, []).append(block)


class Unread(BodyFold):
    """What was read before reading failed; ignores everything after it."""

    def __init__(self, read: BodyFold) -> None:
        super().__init__()
        self.message, self.error, self.final_usage = read.message, read.error, read.final_usage
        self.stopped, self.started_content = read.stopped, read.started_content
        self.is_stream, self.received = read.is_stream, read.received
        self.estimated_output_tokens = read.estimated_output_tokens

    def feed(self, chunk: bytes) -> bool:
        """Ignore the chunk."""
        self.received += len(chunk)
        return True

    def _drain(self) -> None:
        self.received += len(self.tail)
        self.tail.clear()


def _kind(name: bytes, data: bytes) -> bytes:
    """The type in an event's data, else its name. The SDK raises at the name `error` whatever the data is."""
    if name == b"error":
        return name
    first = _TYPE_FIRST(data)
    if first is not None:
        return first[1]
    if name in _KNOWN and not data.startswith(b"{"):
        return name
    try:
        event = json_object(data)
    except ValueError:
        if name in _KNOWN:
            raise
        return name
    kind = event.get("type")
    if isinstance(kind, str):
        return kind.encode(errors="replace")
    return b"error" if is_error(event) else name


def _error_in(data: bytes) -> str:
    """The outcome of an error event. A proxy writes text where the API writes JSON; the SDK raises at either."""
    try:
        return error_type(json_value(data), _NO_STATUS)
    except ValueError:
        return error_type(None, _NO_STATUS)


def _listed_error(document: bytes) -> str:
    """The outcome of an error that is wrapped in a list; empty for anything else."""
    try:
        value = json_value(document)
    except ValueError:
        return ""
    return error_type(value, _NO_STATUS) if is_error(value) else ""


def _estimated_tokens(delta: bytes) -> int:
    """An estimate of an event's tokens: at least one for a content delta that is not a signature, else none."""
    at = delta.find(_EVENTS_TYPE)
    if at < 0:
        return 0
    kind = delta.find(_DELTA_TYPE, at + len(_EVENTS_TYPE))
    if delta.endswith(b"signature", 0, max(kind, 0)):
        return 0
    return max(1, (delta.rfind(b'"') - kind - _TYPE_AND_KEY_BYTES) // _BYTES_A_TOKEN)
