"""Reads the files that users name: regular files of bounded size and depth, checked before a parser sees them.

A FIFO would block its reader, a device or an endless file would fill memory, and deep nesting overflows the stack of
a recursive parser, including libyaml's binding.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from anthropic_exporter.errors import ConfigurationError

#: Long prompts are smaller: the API refuses requests above 32 MB.
MOST_JSON_BYTES = 4_194_304
#: A bearer token, a password, a webhook's address.
MOST_SECRET_BYTES = 16_384
#: A bundle of all public authorities has 220 kB.
MOST_PEM_BYTES = 1_048_576
#: The deepest file of the product has 6 levels, a request of the Messages API about 10.
MOST_DEPTH = 64

Stamp = tuple[int, int, int]

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link"),
)
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def read_bytes(path: Path, most_bytes: int, *, follow_links: bool = True) -> bytes:
    """Read a whole regular file.

    Never waits for a writer and never opens a device: the kind of the file is checked before and after it is opened.

    Args:
        path: the file.
        most_bytes: the largest size accepted.
        follow_links: whether `path` may be a symbolic link, as mounted secrets are.

    Raises:
        ConfigurationError: the file is missing, unreadable, not a regular file, or too large.
    """
    try:
        _check(path, path.stat() if follow_links else path.lstat(), most_bytes)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags if follow_links else flags | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(file.fileno()), most_bytes)
            content: bytes | None = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "the path is not valid"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    if content is None:  # a file of the kernel, such as /proc/kmsg, for which others wait
        raise ConfigurationError(f"{path}: cannot be read: it has no content yet")
    if len(content) > most_bytes:  # files below /proc have a size of 0
        raise _too_large(path, most_bytes)
    return content


def stamp(path: Path) -> Stamp | None:
    """A value that changes whenever the file does; None if it cannot be found."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_text(path: Path, most_bytes: int, *, follow_links: bool = True) -> str:
    """Read a whole regular file as UTF-8; like `read_bytes` otherwise."""
    try:
        return read_bytes(path, most_bytes, follow_links=follow_links).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: cannot be read: not UTF-8") from error


def read_token(path: Path) -> str:
    """Read the secret of a bearer token: one word, because a header has no second line.

    Raises:
        ConfigurationError: as `read_bytes`, or the file is empty or holds more than one line.
    """
    token = read_text(path, MOST_SECRET_BYTES).removeprefix("\ufeff").strip()
    if not token:
        raise ConfigurationError(f"{path}: the token is empty; write a long random string into it")
    if not token.isprintable():
        raise ConfigurationError(f"{path}: expected one token, in one line without control characters")
    return token


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Read a regular file as JSON of bounded depth.

    Raises:
        ConfigurationError: as `read_bytes`, or the content is not JSON or too deep; names file and line.
    """
    text = read_text(path, most_bytes)
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MOST_DEPTH:
            raise too_deep(path, text.count("\n", 0, found.start()) + 1)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        raise ConfigurationError(f"{path}: not valid JSON") from error


def too_deep(path: Path, line: int) -> ConfigurationError:
    """The error for a file whose nesting exceeds `MOST_DEPTH`."""
    return ConfigurationError(f"{path}:{line}: nested deeper than {MOST_DEPTH} levels")


def _check(path: Path, found: os.stat_result, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "not a regular file")
        raise ConfigurationError(f"{path}: is {kind}; expected a regular file")
    if found.st_size > most_bytes:
        raise _too_large(path, most_bytes)


def _too_large(path: Path, most_bytes: int) -> ConfigurationError:
    return ConfigurationError(f"{path}: is larger than {most_bytes:,} bytes")
