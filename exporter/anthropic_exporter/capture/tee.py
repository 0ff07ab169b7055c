"""Wraps the byte stream of a response: passes every chunk on unchanged and shows it to the attempt.

After the first content delta a chunk costs one list append. The classes are built for the HTTP library whose objects
the SDK uses: httpx before SDK 1.0, httpx2 from then on; both may be installed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import filterfalse, islice
from typing import TYPE_CHECKING, Any

from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.batches import BatchResults
from anthropic_exporter.wire.stream import COMPACT_CHUNKS

if TYPE_CHECKING:
    from anthropic_exporter.capture.sessions import SessionReader


def tee(stream: Any, attempt: Attempt | BatchResults | SessionReader, library: str) -> Any:
    """Return a stream of the same kind (sync, async or both) that shows `attempt` what passes.

    Args:
        stream: the response's own byte stream.
        attempt: sees every chunk and the end.
        library: the package of the response object, `httpx` or `httpx2`.
    """
    sync_tee, async_tee, both = _classes(library)
    http = sys.modules[library]
    is_sync, is_async = isinstance(stream, http.SyncByteStream), isinstance(stream, http.AsyncByteStream)
    return (both if is_sync and is_async else sync_tee if is_sync else async_tee)(stream, attempt)


class _Tee:
    def __init__(self, inner: Any, attempt: Attempt | BatchResults | SessionReader) -> None:
        self._inner = inner
        self._attempt = attempt
        # The SDK reads it at every event; a miss through `__getattr__` would cost 5 µs each time.
        self.stream_observer = getattr(inner, "stream_observer", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __del__(self) -> None:
        attempt = self.__dict__.get("_attempt")
        if attempt is not None:
            attempt.closed()


class _SyncTee(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        attempt, iterator = self._attempt, iter(self._inner)
        try:
            for chunk in iterator:
                seen_enough = attempt.feed(chunk)
                yield chunk
                if seen_enough:
                    break
            tail = attempt.tail
            for chunk in iterator:
                tail.append(chunk)
                yield chunk
                # `append` returns None, so that each chunk is kept and passed on without a step of Python.
                yield from filterfalse(tail.append, islice(iterator, COMPACT_CHUNKS))
                if len(tail) >= COMPACT_CHUNKS:
                    tail = attempt.compact()
        except GeneratorExit:
            raise
        except BaseException as error:
            attempt.raised(error)
            raise
        attempt.ended()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._attempt.closed()


class _AsyncTee(_Tee):
    #: Whether the HTTP library closes the generators that it reads from. httpx leaves them to the event loop, where a
    #: generator that two others close at the same time raises; httpx2 closes each before the one that reads it.
    _closes_generators = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        attempt, iterator = self._attempt, self._inner.__aiter__()
        try:
            async for chunk in iterator:
                seen_enough = attempt.feed(chunk)
                yield chunk
                if seen_enough:
                    break
            tail = attempt.tail
            async for chunk in iterator:
                tail.append(chunk)
                if len(tail) >= COMPACT_CHUNKS:
                    tail = attempt.compact()
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            attempt.raised(error)
            raise
        finally:
            if self._closes_generators and hasattr(iterator, "aclose"):
                await iterator.aclose()
        attempt.ended()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._attempt.closed()


@functools.cache
def _classes(library: str) -> tuple[type[Any], type[Any], type[Any]]:
    """The tee classes as streams of one HTTP library, which checks by `isinstance`."""
    http = sys.modules[library]
    sync_tee = type("SyncTee", (_SyncTee, http.SyncByteStream), {})
    async_tee = type("AsyncTee", (_AsyncTee, http.AsyncByteStream), {"_closes_generators": library != "httpx"})
    return sync_tee, async_tee, type("BothTee", (sync_tee, async_tee), {})
