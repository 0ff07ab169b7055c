"""Remembers what is already counted of sessions of managed agents, whose cumulative usage can be read in many ways."""

from __future__ import annotations

import hashlib
import threading
from typing import NamedTuple

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import Tokens
from anthropic_exporter.kept_text import MOST_CHARS

_MOST_SESSIONS = 10_000
_MOST_THREADS = 1_000
#: Threads of all sessions together; above it the oldest sessions are forgotten.
_MOST_THREADS_OF_ALL = 20_000
_NOBODY = Attribution()


class SessionUse(NamedTuple):
    """Cumulative use of a session, a thread or a dream. `tools` are requests by server tool."""

    tokens: Tokens = Tokens()
    tools: tuple[tuple[str, int], ...] = ()
    seconds: float = 0.0


class _Session:
    """One session: who it is for, what is counted of it, and the newest use of each of its threads."""

    def __init__(self) -> None:
        self.model = ""
        self.tier = "standard"
        self.created = ""
        self.where = _NOBODY
        self.usd = 0.0
        self.is_checked = False
        self.counted = SessionUse()
        self.threads: dict[str, SessionUse] = {}
        self.of_threads = SessionUse()


class SessionMemory:
    """Turns cumulative use into what was not counted before, once for each session however it is read.

    The use of a session includes that of its threads, so a thread is counted only as far as its session is not. When
    there are too many, those that were not read for the longest time are forgotten; a forgotten one is counted again
    where it is read again.
    """

    def __init__(self, most: int = _MOST_SESSIONS) -> None:
        self._most = most
        self._lock = threading.RLock()  # a signal handler may read results too
        self._sessions: dict[str, _Session] = {}
        self._threads = 0
        self._forgotten_until = ""

    def session(self, session_id: str) -> _Session:
        """The memory of a session, created if missing."""
        with self._lock:
            return self._session(session_id)

    def created(self, session_id: str, at: str) -> bool:
        """Note when a session was made, in the API's words. Whether it may have been counted, and forgotten since."""
        with self._lock:
            is_unknown = _key(session_id) not in self._sessions
            self._session(session_id).created = at
            return is_unknown and bool(at) and at <= self._forgotten_until

    def are_one(self, dream: str, session_id: str) -> None:
        """A dream that was counted under its own id turned out to be this session."""
        with self._lock:
            known = self._sessions.pop(_key(dream), None)
            if known is None:
                return
            self._threads -= len(known.threads)
            session = self._session(session_id)
            session.counted = _sum(session.counted, _beyond(known.counted, session.counted))
            session.usd = max(session.usd, known.usd)

    def attribute(self, session_id: str, where: Attribution) -> Attribution:
        """Who a session is for: the running block, else the block in which it was first seen."""
        session = self.session(session_id)
        if session.where == _NOBODY:
            session.where = where
        return session.where if where == _NOBODY else where

    def add(self, session_id: str, spent: SessionUse, thread: str = "") -> SessionUse:
        """Add a snapshot of a session, or of one of its threads; returns what was not counted before."""
        with self._lock:
            session = self._session(session_id)
            if thread:
                before = len(session.threads)
                spent = _with_thread(session, _key(thread), spent)
                self._threads += len(session.threads) - before
                self._forget_threads()
            new = _beyond(spent, session.counted)
            session.counted = _sum(session.counted, new)
            return new

    def _session(self, session_id: str) -> _Session:
        key = _key(session_id)
        found = self._sessions.pop(key, None) or _Session()
        self._sessions[key] = found  # last: it was read last
        if len(self._sessions) > self._most:
            self._forget_oldest()
        return found

    def _forget_threads(self) -> None:
        while self._threads > _MOST_THREADS_OF_ALL:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        forgotten = self._sessions.pop(next(iter(self._sessions)))
        self._threads -= len(forgotten.threads)
        self._forgotten_until = max(self._forgotten_until, forgotten.created)


def _key(name: str) -> str:
    """What a name is kept as: of a long one the beginning and a hash, so that two long ones are not one."""
    if len(name) <= MOST_CHARS:
        return name
    return name[:64] + hashlib.blake2b(name.encode(errors="replace"), digest_size=16).hexdigest()


def _with_thread(session: _Session, thread: str, spent: SessionUse) -> SessionUse:
    """The sum of all threads, this one included. Runtime is billed by the session: threads overlap."""
    counted = session.threads.get(thread, SessionUse())
    if thread in session.threads or len(session.threads) < _MOST_THREADS:
        new = _beyond(spent._replace(seconds=0.0), counted)
        session.threads[thread] = _sum(counted, new)
        session.of_threads = _sum(session.of_threads, new)
    return session.of_threads


def _beyond(spent: SessionUse, counted: SessionUse) -> SessionUse:
    """What a snapshot has beyond what is counted, never negative. A snapshot may lack the split of cache writes."""
    plain, read, _, _, output = (max(0, new - old) for new, old in zip(spent.tokens, counted.tokens, strict=True))
    written = max(0, _written(spent) - _written(counted))
    long = min(written, max(0, spent.tokens.cache_write_1h - counted.tokens.cache_write_1h))
    before = dict(counted.tools)
    more = ((tool, count - before.get(tool, 0)) for tool, count in spent.tools)
    return SessionUse(
        Tokens(plain, read, written - long, long, output),
        tuple((tool, count) for tool, count in more if count > 0),
        max(0.0, spent.seconds - counted.seconds),
    )


def _written(spent: SessionUse) -> int:
    return spent.tokens.cache_write_5m + spent.tokens.cache_write_1h


def _sum(one: SessionUse, other: SessionUse) -> SessionUse:
    tools = dict(one.tools)
    for tool, count in other.tools:
        tools[tool] = tools.get(tool, 0) + count
    tokens = Tokens(*(a + b for a, b in zip(one.tokens, other.tokens, strict=True)))
    return SessionUse(tokens, tuple(tools.items()), one.seconds + other.seconds)
