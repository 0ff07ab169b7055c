"""Incremental decompression of a response body: the raw bytes pass us before the HTTP library has decoded them."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

Inflate = Callable[[bytes], bytes]


def inflater(encoding: str) -> Inflate | None:
    """A decompressor for a `content-encoding`; None where the bytes are plain.

    gzip and deflate are always there. br and zstd are there where the application installed a package for them, which
    is also when its HTTP library asks a server for them.

    Raises:
        ValueError: nothing here can read this encoding.
    """
    if not encoding:
        return None
    steps = [_inflater(name) for name in reversed(encoding.lower().replace(" ", "").split(",")) if _coded(name)]
    return _chain(steps) if len(steps) > 1 else steps[0] if steps else None


def _coded(name: str) -> bool:
    return name not in ("", "identity")


def _inflater(name: str) -> Inflate:
    if name in ("gzip", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    if name == "deflate":
        return _deflate()
    if name == "br":
        brotli = _first("brotli", "brotlicffi").Decompressor()
        return getattr(brotli, "decompress", None) or brotli.process  # type: ignore[no-any-return]
    if name == "zstd":
        return _first("compression.zstd", "backports.zstd").ZstdDecompressor().decompress  # type: ignore[no-any-return]
    raise ValueError(f"unknown content-encoding {name[:20]!r}")


def _deflate() -> Inflate:
    """`deflate` means zlib by the book and a bare deflate stream by habit; the first bytes tell."""
    readers = [zlib.decompressobj()]

    def inflate(data: bytes) -> bytes:
        try:
            return readers[0].decompress(data)
        except zlib.error:
            if len(readers) > 1:
                raise
            readers.insert(0, zlib.decompressobj(-zlib.MAX_WBITS))
            return readers[0].decompress(data)

    return inflate


def _chain(steps: list[Inflate]) -> Inflate:
    def inflate(data: bytes) -> bytes:
        for step in steps:
            data = step(data)
        return data

    return inflate


def _first(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ValueError(f"no package reads this content-encoding; tried {', '.join(names)}")
