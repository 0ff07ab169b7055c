"""Managed agents: counts sessions, their threads and dreams from whatever the application reads of them.

Usage is cumulative, and each reading counts what it shows beyond the ones before: creating, retrieving or listing
sessions, listing threads, the event stream, the events listed again. Tokens, searches and runtime are no requests.

Source: the types `BetaManagedAgentsSession`, `…SessionThread`, `…SessionUsageEvent` and `BetaDream` of the SDK 2.14.0,
read 2026-11-30. A dream's tokens are those of its session as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from anthropic_exporter.attribution import current
from anthropic_exporter.call import SUCCESS, Call, Inference, Tokens
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.recording.session_memory import SessionUse
from anthropic_exporter.wire.decompress import Inflate, inflater
from anthropic_exporter.wire.events import MOST_BYTES, SseSplitter, json_object, name_and_data
from anthropic_exporter.wire.usage import Reading, read_usage

_PATH = re.compile(r"/v1/(?:sessions|dreams)(?:/([^/]+))?(?:/.*)?$")
_OK = range(200, 300)
_UNKNOWN = "unknown"
_MOST_SECONDS = 1e10
_MOST_TIME_CHARS = 40
_USAGE_KEY = b'"usage"'
_BLANKS = b" \t\r\n\xef\xbb\xbf"
_COUNTS = frozenset(
    {
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation", "cache_creation_input_tokens"),
        *("server_tool_use", "active_seconds", "list_cost"),
    }
)
_HAVE_USAGE = frozenset({"session", "session.usage", "session_thread", "dream"})
_CENT, _TOLERATED_SHARE = 0.01, 0.01


class SessionReader:
    """Reads one response about sessions as it passes. The tee treats it like an `Attempt`.

    Args:
        recorder: where the calls go.
        path: the path of the request, which names the session that an event is about.
    """

    def __init__(self, recorder: Intake, path: str) -> None:
        self._recorder = recorder
        self._where = current()
        found = _PATH.search(path)
        self._session = unquote((found[1] or "") if found else "")
        self._inflate: Inflate | None = None
        self._reading = False
        self._splitter: SseSplitter | None = None
        self._document: list[bytes] = []
        self._size = 0
        self.tail: list[bytes] = []

    # -- what the tee calls

    def head(self, status: int, headers: Any, path: bytes, *, buffered: bool) -> None:  # noqa: ARG002 - as in Attempt
        """The response's status and headers came. `buffered`: its body was already read and decompressed."""
        self._reading = status in _OK
        self._inflate = inflater("" if buffered else headers.get("content-encoding", ""))

    def body(self, content: bytes) -> None:
        """The whole body was there at once, already decompressed."""
        self.feed(content)
        self.ended()

    def feed(self, chunk: bytes) -> bool:
        """A chunk came. True once nothing is read any more."""
        try:
            if self._reading:
                self._read(chunk if self._inflate is None else self._inflate(chunk))
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._give_up(error)
        return not self._reading

    def compact(self) -> list[bytes]:
        """Drop chunks that are not needed."""
        self.tail.clear()
        return self.tail

    def ended(self) -> None:
        """The body ended by itself."""
        try:
            if self._reading and self._document:
                self._take_all(json_object(b"".join(self._document)))
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._give_up(error)

    def closed(self) -> None:
        """Ignore an incomplete body; may run in a finalizer."""

    def raised(self, error: BaseException) -> None:
        """The request or its body failed."""

    def forget(self) -> None:
        """The response cannot be read."""
        self._reading = False

    # -- what it reads

    def _give_up(self, error: Exception) -> None:
        self._reading = False
        self._document.clear()
        self._recorder.failed("session", error)

    def _read(self, data: bytes) -> None:
        if self._splitter is None and not self._document:  # what a body is follows from its bytes
            data = data.lstrip(_BLANKS)
            if data and not data.startswith((b"{", b"[")):
                self._splitter = SseSplitter()
        if self._splitter is None:
            if not data:
                return
            self._document.append(data)
            self._size += len(data)
            if self._size > MOST_BYTES:
                raise ValueError("a body is too large to be read")
            return
        for event in self._splitter.feed(data):
            if _USAGE_KEY in event:
                self._read_event(event)

    def _read_event(self, event: bytes) -> None:
        try:
            self._take_all(json_object(name_and_data(event)[1]))
        except ValueError as error:  # one bad event must not lose the next
            self._recorder.failed("session", error)

    def _take_all(self, body: Mapping[str, Any]) -> None:
        listed = body.get("data")
        for item in listed if isinstance(listed, list) else [body]:
            if isinstance(item, Mapping) and item.get("usage"):
                self._take(item, item["usage"])

    def _take(self, item: Mapping[str, Any], usage: Any) -> None:
        """Take one session, thread, dream or usage event; other objects with usage repeat parts of these."""
        kind, session_id = item.get("type"), self._session
        if kind in _HAVE_USAGE and not (isinstance(usage, Mapping) and usage.keys() & _COUNTS):
            self._recorder.malformed("usage", ("usage",))
            return
        if kind == "session":
            self._take_session(item, usage)
        elif kind == "session.usage":
            self._count(_text(item, "session_id") or session_id, usage)
        elif kind == "session_thread":
            self._count(_text(item, "session_id") or session_id, usage, _text(item, "id"), item.get("agent"))
        elif kind == "dream":
            self._take_dream(item, usage)

    def _take_session(self, item: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        session_id = _text(item, "id") or self._session
        if not session_id:  # nothing says whether it was counted before
            self._recorder.malformed("usage", ("id",))
            return
        if self._recorder.sessions.created(session_id, _text(item, "created_at")[:_MOST_TIME_CHARS]):
            self._recorder.count(f.LIMITS_REACHED, "sessions")
        _describe(self._recorder, session_id, item.get("agent"))
        self._count(session_id, usage)

    def _take_dream(self, item: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        dream, session_id = _text(item, "id"), _text(item, "session_id")
        if dream and session_id:
            self._recorder.sessions.are_one(dream, session_id)
        session_id = session_id or dream
        _describe(self._recorder, session_id, item)
        self._count(session_id, usage)

    def _count(self, session_id: str, usage: Mapping[str, Any], thread: str = "", agent: Any = None) -> None:
        recorder = self._recorder
        session = recorder.sessions.session(session_id)
        name, tier = _model(agent) if thread else (session.model, session.tier)
        reading = read_usage(usage, name or _UNKNOWN)
        seconds = usage.get("active_seconds")
        odd = ("active_seconds",) if seconds and not _seconds(seconds) else ()
        recorder.malformed("usage", (*reading.malformed, *odd))
        where = recorder.sessions.attribute(session_id, self._where)
        new = recorder.sessions.add(session_id, _spent(reading, usage), thread)
        if not (any(new.tokens) or new.tools or new.seconds):
            return
        call = Call(
            reading.model,
            SUCCESS,
            (Inference(reading.model, new.tokens),) if any(new.tokens) else (),
            where.feature,
            where.user,
            tier if tier != "standard" else reading.tier,
            recorder.clock(),
            server_tools=new.tools,
            cache_asked=bool(new.tokens.cache_read or new.tokens.cache_write_5m or new.tokens.cache_write_1h),
            inference_geo=reading.inference_geo,
            regional=reading.regional,
            requests=0,
            session_seconds=new.seconds,
            task=where.task,
        )
        recorder.record(call)
        self._check(session_id, call, usage if not thread else {})

    def _check(self, session_id: str, call: Call, usage: Mapping[str, Any]) -> None:
        """Compare with the API's own list cost, which is in whole cents; log once if it differs."""
        session = self._recorder.sessions.session(session_id)
        session.usd += self._recorder.prices.bill(call).total_usd
        listed = _list_cost_usd(usage.get("list_cost"))
        tolerated = _CENT + _TOLERATED_SHARE * session.usd
        if listed is not None and not session.is_checked and abs(session.usd - listed) > tolerated:
            session.is_checked = True
            self._recorder.count(f.SESSION_COST_MISMATCHES, call.model)


def _describe(recorder: Intake, session_id: str, agent: Any) -> None:
    """Remember the model of a session: its events do not name it."""
    session = recorder.sessions.session(session_id)
    model, tier = _model(agent)
    session.model, session.tier = model or session.model, tier


def _model(agent: Any) -> tuple[str, str]:
    """Model and tier of an agent or a dream; the model may be an object or its id."""
    model = agent.get("model") if isinstance(agent, Mapping) else None
    if isinstance(model, Mapping):
        return _text(model, "id"), "fast" if model.get("speed") == "fast" else "standard"
    return model if isinstance(model, str) else "", "standard"


def _spent(reading: Reading, usage: Mapping[str, Any]) -> SessionUse:
    tokens = Tokens(*(sum(counts) for counts in zip(*(one.tokens for one in reading.inferences), strict=True)))
    return SessionUse(tokens, reading.server_tools, _seconds(usage.get("active_seconds")))


def _seconds(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 <= value <= _MOST_SECONDS else 0.0


def _list_cost_usd(cost: Any) -> float | None:
    """Dollars of `{"amount": "13", "currency": "USD"}`, an amount in cents."""
    if not isinstance(cost, Mapping) or cost.get("currency") != "USD":
        return None
    try:
        cents = float(str(cost.get("amount")))
    except ValueError:
        return None
    return cents / 100 if math.isfinite(cents) else None


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""
