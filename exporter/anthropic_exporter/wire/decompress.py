"""Decompresses a response body incrementally: we see its raw bytes before the HTTP library decodes them."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

Inflate = Callable[[bytes], bytes]


def inflater(encoding: str) -> Inflate | None:
    """Return a decompressor for a `content-encoding`; None if the bytes are plain.

    gzip and deflate are always available. br and zstd need a package that the application installed; only then its
    HTTP library asks for them.

    Raises:
        ValueError: no decompressor for this encoding is installed.
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
    """`deflate` means zlib in the standard and often a bare deflate stream in practice; the first bytes tell."""
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
