"""Runs all connections of a server on one thread: every wait has a deadline, every buffer a limit.

A thread for each connection would let 2,000 idle clients take 2,000 threads of the application. Here an idle client
takes a descriptor and a few hundred bytes; handlers run on a few threads that are shared.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable
from http import HTTPStatus
from typing import Any, Protocol

from anthropic_exporter.web import request_head, response
from anthropic_exporter.web.accepting import Acceptor
from anthropic_exporter.web.connection import READ, Connection, Phase
from anthropic_exporter.web.handler_threads import HandlerThreads
from anthropic_exporter.web.limits import CpuBudget, ServerLimits
from anthropic_exporter.web.response import Response
from anthropic_exporter.web.routes import Answer, Route, refusal
from anthropic_exporter.web.site import Site, request_of

_LOOK_SECONDS = 0.25
#: How often waiting answers are written while there are any, and how often the loop checks for some.
_TICK_SECONDS, _IDLE_TICK_SECONDS = 0.05, 1.0
_STEPS_AT_ONCE = 32
_SEND_BUFFER_BYTES = 262_144
_LARGE_PAGE_BYTES = 65_536
#: A client that takes its answer keeps its place, however many others want it, until it takes nothing for this long.
_STALLED_SECONDS = 0.25
#: A new connection has this long to send something before others may have its place.
_FRESH_SECONDS = 0.25
_LOOK_FOR_ROOM_SECONDS = 0.05
#: Phases in which the client is to do something, and the limit that counts when it does not.
_CLIENT_IS_SLOW = {
    Phase.HANDSHAKE: "server_handshake_seconds",
    Phase.HEAD: "server_head_seconds",
    Phase.BODY: "server_body_seconds",
    Phase.SENDING: "server_answer_seconds",
}
_EVICTED_FIRST = (Phase.LINGER, Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.HANDSHAKE)


class Channel(Protocol):
    """What may stand between a socket and HTTP: TLS."""

    def wrap(self, connected: socket.socket) -> Any:
        """The socket to read and write instead; the handshake is still to come."""

    def refuses(self, connected: Any) -> bool:
        """Whether the client's certificate, after the handshake, is not one that is let in."""


class EventLoop:
    """Accepts connections, reads requests, sends answers. `run` is the body of the server's own thread.

    Args:
        listener: a bound, listening socket.
        site: who answers.
        limits: what may be taken.
        channel: TLS; None for plain HTTP.
        headers: further headers of every answer.
    """

    def __init__(
        self,
        listener: socket.socket,
        site: Site,
        limits: ServerLimits,
        channel: Channel | None = None,
        headers: Callable[[], tuple[tuple[str, str], ...]] = tuple,
    ) -> None:
        self._site = site
        self._limits = limits
        self._channel = channel
        self._headers = headers
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._threads = HandlerThreads(limits.threads, lambda: site.limited("server_threads"))
        self._connections: set[Connection] = set()
        self._done: deque[Callable[[], None]] = deque()
        self._wanting: dict[Hashable, list[Connection]] = {}
        self._shares_now = False
        self._body_bytes = 0
        self._budget = CpuBudget()
        self._used = deque([0.0])
        self._closes_at = float("inf")
        self._tick_seconds, self._ticks_at = _TICK_SECONDS, 0.0
        self._selector.register(self._woken, READ, self._drain_wakes)
        self._acceptor = Acceptor(listener, self._selector, self, is_plain=channel is None)

    # -- for other threads

    def stop(self) -> None:
        """Take no further request; answers that are under way are sent. `run` returns soon."""
        self._done.append(self._begin_to_close)
        self._wake()

    def abandon(self) -> None:
        """Close every descriptor of this process and nothing else: for a forked child, in which nothing runs.

        The selector is shared with the parent: taking a descriptor out of it would take it out there as well.
        """
        self._selector.close()
        for connection in list(self._connections):
            connection.close()
        self._acceptor.abandon()
        self._waker.close()
        self._woken.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"\0")

    # -- the thread

    def run(self) -> None:
        """Serve until stopped."""
        began = time.thread_time()
        while not self._is_over():
            for key, _ in self._selector.select(self._timeout()):
                self._guarded(key.data)
            for _ in range(len(self._done)):
                self._guarded(self._done.popleft())
            self._expire(time.monotonic())
            if self._acceptor.is_paused:
                self._guarded(self._acceptor.resume)
            self._tick(time.monotonic())
            used, began = time.thread_time() - began, time.thread_time()
            self._pause(used + sum(self._used.popleft() for _ in range(len(self._used))))
        self._end()

    def _is_over(self) -> bool:
        """Whether it was stopped, and every answer was sent or had its time."""
        return time.monotonic() >= self._closes_at or (self._closes_at != float("inf") and not self._connections)

    def _timeout(self) -> float:
        """Seconds to wait for an event."""
        if self._done:
            return 0.0
        if self._acceptor.waiting is not None:
            return _LOOK_FOR_ROOM_SECONDS
        looks = self._connections or self._acceptor.is_paused
        return min(_LOOK_SECONDS if looks else _IDLE_TICK_SECONDS, max(0.0, self._ticks_at - time.monotonic()))

    def _tick(self, now: float) -> None:
        """Write the answers that wait, so that the application's threads need not."""
        if now >= self._ticks_at:
            found = self._site.tick()
            self._tick_seconds = _TICK_SECONDS if found else min(2 * self._tick_seconds, _IDLE_TICK_SECONDS)
            self._ticks_at = now + self._tick_seconds

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - one broken connection must not end the others
            self._site.failed(error)

    def _pause(self, used_seconds: float) -> None:
        """Leave the processor to the application once a quarter of a core is used up."""
        pause = self._budget.spend(used_seconds)
        if pause:
            self._site.limited("server_cpu")
            time.sleep(pause)

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _begin_to_close(self) -> None:
        self._closes_at = time.monotonic() + self._limits.close_seconds
        self._acceptor.close()
        for connection in list(self._connections):
            if connection.phase not in (Phase.HANDLER, Phase.SENDING):
                self._drop(connection)

    def _end(self) -> None:
        self._site.stop_ticking()
        for connection in list(self._connections):
            self._drop(connection)
        self._threads.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()

    # -- connections

    def limited(self, limit: str) -> None:
        """Count that a limit was reached."""
        self._site.limited(limit)

    def has_room(self) -> bool:
        """Whether one more connection may be open."""
        return len(self._connections) < self._limits.connections

    def adopt(self, connected: socket.socket) -> None:
        """Serve a new connection."""
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        tls, seconds = self._channel is not None, self._limits.handshake_seconds
        try:
            wrapped = self._channel.wrap(connected) if self._channel else connected
        except OSError:
            connected.close()
            return
        connection = Connection(wrapped, tls=tls, now=time.monotonic(), seconds=seconds)
        if not tls:
            connection.deadline = connection.since + self._limits.idle_seconds
        self._connections.add(connection)
        self._want(connection, READ)

    def evict(self) -> bool:
        """Close the connection that has waited longest for its client. False where every client is being served."""
        now = time.monotonic()
        waiting = [
            one
            for one in self._connections
            if one.phase in _EVICTED_FIRST and (one.was_answered or now - one.opened > _FRESH_SECONDS)
        ] or [one for one in self._connections if one.phase is Phase.SENDING and now - one.since > _STALLED_SECONDS]
        if not waiting:
            return False
        self._drop(min(waiting, key=lambda one: one.since))
        return True

    def _drop(self, connection: Connection) -> None:
        if connection.phase is Phase.CLOSED:
            return
        self._want(connection, 0)
        self._release_body(connection)
        self._connections.discard(connection)
        connection.close()

    def _want(self, connection: Connection, events: int) -> None:
        """Be told of these events of the connection; 0 for none."""
        if events == connection.wants:
            return
        if not connection.wants:
            self._selector.register(connection.socket, events, lambda: self._ready(connection))
        elif not events:
            self._selector.unregister(connection.socket)
        else:
            self._selector.modify(connection.socket, events, lambda: self._ready(connection))
        connection.wants = events

    def _expire(self, now: float) -> None:
        for connection in [one for one in self._connections if one.deadline <= now]:
            self._guarded(functools.partial(self._too_late, connection))

    def _too_late(self, connection: Connection) -> None:
        self._proceed(connection, lambda: self._give_up(connection))

    def _give_up(self, connection: Connection) -> None:
        phase = connection.phase
        if phase in _CLIENT_IS_SLOW:
            self._site.limited(_CLIENT_IS_SLOW[phase])
        if phase in (Phase.HEAD, Phase.BODY):
            self._refuse(connection, refusal(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time"))
        elif phase is Phase.HANDLER:
            self._site.limited("server_handler_seconds")
            self._refuse(connection, refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", ("Retry-After", "5")))
        else:
            self._drop(connection)

    def _ready(self, connection: Connection) -> None:
        """Go on with a connection; an event may be older than the phase, for another one's event may have closed it."""
        step = _STEPS.get(connection.phase)
        if step is not None:
            self._proceed(connection, lambda: step(self, connection))

    def _proceed(self, connection: Connection, step: Callable[[], None]) -> None:
        """Do a step, and all those that are possible after it."""
        try:
            step()
            self._advance(connection)
        except OSError:  # the client went away, or did not speak TLS
            self._drop(connection)
        except BaseException:
            self._drop(connection)
            raise

    # -- a request

    def _shake_hands(self, connection: Connection) -> None:
        waits = connection.shake_hands()
        if waits:
            self._want(connection, waits)
        elif self._channel is not None and self._channel.refuses(connection.socket):
            self._drop(connection)
        else:
            self._await_request(connection)

    def _await_request(self, connection: Connection) -> None:
        connection.forget_request()
        connection.enter(Phase.IDLE, time.monotonic(), self._limits.idle_seconds)
        self._want(connection, READ)

    def _advance(self, connection: Connection) -> None:
        """Take requests until the client has to send more: TLS may hold bytes that the socket does not show."""
        for _ in range(_STEPS_AT_ONCE):
            if connection.phase not in _READS:
                return
            if self._took_request(connection):
                continue
            came = connection.receive()
            if came is None:
                return
            if not came:
                self._drop(connection)
        self._done.append(lambda: self._proceed(connection, lambda: None))  # the others first

    def _took_request(self, connection: Connection) -> bool:
        """Whether what was received holds what is waited for: it is taken then."""
        if connection.phase is Phase.BODY:
            return self._took_body(connection)
        received = connection.received
        if received[:2] == b"\r\n":  # RFC 9112, 2.2: an empty line before a request is ignored
            del received[:2]
        end = received.find(request_head.END, 0, self._limits.head_bytes)
        if end < 0:
            return self._is_too_long(connection)
        head = request_head.parse(bytes(received[:end]))
        del received[: end + len(request_head.END)]
        self._take_head(connection, head)
        return True

    def _is_too_long(self, connection: Connection) -> bool:
        if len(connection.received) >= self._limits.head_bytes:
            self._site.limited("server_head_bytes")
            said = f"the headers are larger than {self._limits.head_bytes} bytes"
            self._refuse(connection, refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, said))
            return True
        if connection.phase is Phase.IDLE and connection.received:
            connection.enter(Phase.HEAD, time.monotonic(), self._limits.head_seconds)
        return False

    def _take_head(self, connection: Connection, head: request_head.Head | Answer) -> None:
        if isinstance(head, Answer):
            self._refuse(connection, head)
            return
        connection.head, connection.closes = head, not head.keeps_connection or self._closes_at != float("inf")
        route = self._site.route(head)
        if isinstance(route, Route):
            self._take_request(connection, head, route)
        elif self._site.asks_everybody:
            self._call(connection, lambda: self._site.authenticate(head.headers) or route, self._deny)
        else:
            self._deny(connection, route)

    def _deny(self, connection: Connection, answer: Answer) -> None:
        head = connection.head
        if head is None or head.has_body or head.method not in ("GET", "HEAD"):
            self._refuse(connection, answer)
        else:
            self._send(connection, self._build(head, answer))

    def _take_request(self, connection: Connection, head: request_head.Head, route: Route) -> None:
        connection.route = route
        if self._site.asks_first(route):
            self._call(connection, lambda: self._site.admit(route, head.headers), self._admitted)
        else:
            self._admitted(connection, None)

    def _admitted(self, connection: Connection, refused: Answer | None) -> None:
        head, route = connection.head, connection.route
        if head is None or route is None:
            return
        if refused is not None:
            self._refuse(connection, refused)
        elif route.method == "GET":
            self._ask(connection, head, route)
        else:
            self._expect_body(connection, head, route)

    def _expect_body(self, connection: Connection, head: request_head.Head, route: Route) -> None:
        length = request_head.body_length(head, route.max_body_bytes)
        if isinstance(length, Answer):
            self._refuse(connection, length)
            return
        if self._body_bytes + length > self._limits.body_bytes:
            self._site.limited("server_body_bytes")
            self._refuse(connection, refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", ("Retry-After", "1")))
            return
        self._body_bytes += length
        connection.length = length
        connection.enter(Phase.BODY, time.monotonic(), self._limits.body_seconds)
        if head.headers.get("expect", "").lower() == "100-continue" and not connection.received:
            connection.say_continue(response.CONTINUE)
        self._want(connection, READ)

    def _took_body(self, connection: Connection) -> bool:
        head, route = connection.head, connection.route
        if head is None or route is None or len(connection.received) < connection.length:
            return False
        body = bytes(connection.received[: connection.length])
        del connection.received[: connection.length]
        request = request_of(head, body)
        self._call(connection, lambda: self._build(head, self._site.answer(route, request)), self._send)
        return True

    def _ask(self, connection: Connection, head: request_head.Head, route: Route) -> None:
        request = request_of(head)
        if route.is_quick:
            self._send(connection, self._build(head, self._site.answer(route, request)))
        elif route.share is None:
            self._call(connection, lambda: self._build(head, self._site.answer(route, request)), self._send)
        else:
            self._wait_for_handler(connection)
            key = (route.path, route.share(request), response.accepts_gzip(head))
            self._wanting.setdefault(key, []).append(connection)
            self._share_next()

    def _share_next(self) -> None:
        """Make one shared answer at a time, each for everybody who asked for it before it was begun."""
        if self._shares_now or not self._wanting:
            return
        readers = self._wanting.pop(next(iter(self._wanting)))
        head, route = readers[0].head, readers[0].route
        if head is None or route is None:
            return
        self._shares_now = True

        def shared(built: Response) -> None:
            self._shares_now = False
            for reader in readers:
                if reader.phase is Phase.HANDLER:
                    send = functools.partial(self._send, reader, built)
                    self._guarded(functools.partial(self._proceed, reader, send))
            self._share_next()

        self._run(lambda: self._build(head, self._site.answer(route, request_of(head))), shared)

    def _build(self, head: request_head.Head | None, answer: Answer) -> Response:
        return response.build(answer, gzip=response.accepts_gzip(head), extra=self._headers())

    # -- handlers' threads

    def _wait_for_handler(self, connection: Connection) -> None:
        connection.enter(Phase.HANDLER, time.monotonic(), self._limits.handler_seconds)
        self._want(connection, 0)

    def _call(self, connection: Connection, act: Callable[[], Any], then: Callable[[Connection, Any], None]) -> None:
        """Do something on a handlers' thread, and go on with its result here, unless the client had no patience."""
        self._wait_for_handler(connection)

        def go_on(result: Any) -> None:
            if connection.phase is Phase.HANDLER:
                self._proceed(connection, lambda: then(connection, result))

        self._run(act, go_on)

    def _run(self, act: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def job() -> None:
            began = time.thread_time()
            result = self._attempted(act)
            self._used.append(time.thread_time() - began)
            self._done.append(lambda: then(result))
            self._wake()

        self._threads.run(job)

    def _attempted(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except BaseException as error:  # noqa: BLE001 - MemoryError, SystemExit of a handler: the client gets an answer
            self._site.failed(error)
            return response.build(refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed"), gzip=False)

    # -- the answer

    def _refuse(self, connection: Connection, answer: Answer) -> None:
        """Answer a request of which bytes may be unread: the connection cannot be used again."""
        connection.closes = connection.lingers = True
        self._send(connection, response.build(answer, gzip=False, extra=self._headers()))

    def _send(self, connection: Connection, built: Response) -> None:
        self._release_body(connection)
        # While there is no room, an answered connection ends in order, and is not cut off in the client's next request.
        connection.closes |= self._closes_at != float("inf") or not self.has_room()
        connection.was_answered = True
        connection.unsent = built.buffers(connection.head, closes=connection.closes)
        connection.page = built.body
        connection.enter(Phase.SENDING, time.monotonic(), self._limits.answer_seconds)
        self._go_on_sending(connection)
        if connection.phase is Phase.SENDING and len(built.body) >= _LARGE_PAGE_BYTES:
            self._bound_pages()

    def _go_on_sending(self, connection: Connection) -> None:
        waits, connection.since = connection.send(), time.monotonic()
        if waits:
            self._want(connection, waits)
            return
        connection.page = b""
        if connection.lingers:
            self._linger(connection)
        elif connection.closes:
            self._drop(connection)
        else:
            self._await_request(connection)

    def _bound_pages(self) -> None:
        """Cut off the readers of the oldest large answer where too many different ones are held for slow readers."""
        held: dict[int, list[Connection]] = {}
        for one in sorted(self._connections, key=lambda one: one.since):
            if len(one.page) >= _LARGE_PAGE_BYTES:
                held.setdefault(id(one.page), []).append(one)
        for readers in list(held.values())[: max(0, len(held) - self._limits.pages)]:
            self._site.limited("server_pages")
            for reader in readers:
                self._drop(reader)

    def _linger(self, connection: Connection) -> None:
        connection.end_of_answer()
        connection.enter(Phase.LINGER, time.monotonic(), self._limits.linger_seconds)
        connection.received.clear()
        self._want(connection, READ)

    def _discard(self, connection: Connection) -> None:
        came = connection.receive()
        connection.received.clear()
        if came is False:
            self._drop(connection)

    def _release_body(self, connection: Connection) -> None:
        self._body_bytes -= connection.length
        connection.length = 0


_READS = (Phase.IDLE, Phase.HEAD, Phase.BODY)
_STEPS: dict[Phase, Callable[[EventLoop, Connection], None]] = {
    Phase.HANDSHAKE: EventLoop._shake_hands,  # noqa: SLF001 - this module's own
    Phase.SENDING: EventLoop._go_on_sending,  # noqa: SLF001
    Phase.LINGER: EventLoop._discard,  # noqa: SLF001
    **dict.fromkeys(_READS, lambda _loop, _connection: None),  # `_advance` reads
}
