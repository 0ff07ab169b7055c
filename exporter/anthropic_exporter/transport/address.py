"""The URL of a queue: checked when the program starts, shown without its password."""

from __future__ import annotations

import importlib.util
import re
import zlib
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from anthropic_exporter.errors import ConfigurationError

#: Which library each scheme needs, and the extra that installs it.
_ENGINES = {
    "redis": ("redis", "redis"),
    "rediss": ("redis", "redis"),
    "redis+sentinel": ("redis", "redis"),
    "rediss+sentinel": ("redis", "redis"),
    "redis+cluster": ("redis", "redis"),
    "rediss+cluster": ("redis", "redis"),
    "nats": ("nats", "nats"),
    "tls": ("nats", "nats"),
    "kafka": ("confluent_kafka", "kafka"),
}
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEFAULT_STREAM = "anthropic-cells"
_MOST_SHARDS = 256
#: With messages of 8 kB a full queue takes 80 MB.
_DEFAULT_MOST_MESSAGES = 10_000
_ESCAPES = (
    "the URL cannot be read: in a user, a password or an option, write # as %23, ? as %3F, / as %2F, @ as %40, "
    "& as %26 and % as %25"
)
_OPTIONS = frozenset({"stream", "shards", "maxlen"})


class Address(NamedTuple):
    """Where messages go.

    Attributes:
        url: for the client library, without our own options.
        scheme: such as `redis`, `rediss+sentinel`, `nats`, `tls` or `kafka`.
        shown: the URL without user and password, for logs and errors.
        stream: the name of the stream, without its shard.
        shards: over how many streams the hosts are spread.
        most_messages: the most messages that a stream keeps; older ones are dropped.
        options: the URL's other options, for the client library.
    """

    url: str
    scheme: str
    shown: str
    stream: str
    shards: int
    most_messages: int
    options: dict[str, str]

    def stream_of(self, shard: int) -> str:
        """The stream of a shard."""
        return self.stream if self.shards == 1 else f"{self.stream}-{shard}"

    @property
    def engine(self) -> str:
        """The kind of queue, which its positions belong to."""
        return _ENGINES[self.scheme][1]

    @property
    def is_tls(self) -> bool:
        """Whether the URL itself demands TLS. Kafka has an option for it."""
        return self.scheme.startswith("rediss") or self.scheme == "tls"

    @property
    def breakers(self) -> str:
        """The stream on which collectors publish the fleet's conditions."""
        return f"{self.stream}-breakers"

    def shard_of(self, host: str) -> int:
        """The shard of a host; the same for every process and every version."""
        return zlib.crc32(host.encode()) % self.shards


def parse(url: str) -> Address:
    """Read the URL of a queue, such as `rediss://user:password@queue:6379/0?stream=team-a`.

    Raises:
        ConfigurationError: the URL is wrong, or the library for it is not installed.
    """
    parts = _split(url)
    _check_ends(parts)
    shown = _shown(parts.scheme, parts.netloc, parts.path)
    _engine(parts.scheme, shown)
    if not parts.netloc.rpartition("@")[2].split(":")[0]:
        raise ConfigurationError(f"queue {shown}: name a host, as in {parts.scheme or 'redis'}://queue:6379")
    given = _options(parts.query)
    own = {key: given.pop(key) for key in _OPTIONS & given.keys()}
    stream = own.get("stream", _DEFAULT_STREAM)
    if not _STREAM.fullmatch(stream):
        raise ConfigurationError(f"queue {shown}: stream={stream[:80]!r}: use up to 64 letters, digits, - and _")
    return Address(
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
        scheme=parts.scheme,
        shown=shown,
        stream=stream,
        shards=_number(own.get("shards", "1"), "shards", _MOST_SHARDS, shown),
        most_messages=_number(own.get("maxlen", str(_DEFAULT_MOST_MESSAGES)), "maxlen", 10**9, shown),
        options=given,
    )


class _Parts(NamedTuple):
    scheme: str
    netloc: str
    path: str
    query: str
    fragment: str


def _split(url: str) -> _Parts:
    if not isinstance(url, str):
        raise ConfigurationError(f"queue: give a URL such as redis://queue:6379, not {type(url).__name__}")
    try:
        parts = urlsplit(url.strip())
        if "," not in parts.netloc:  # a list of brokers is not one host and port
            _ = parts.port
    except ValueError as error:
        raise ConfigurationError("queue: the URL cannot be read; write it as in redis://queue:6379") from error
    return _Parts(parts.scheme.lower(), parts.netloc, parts.path, parts.query, parts.fragment)


def _check_ends(parts: _Parts) -> None:
    """A password with a bare #, ? or / ends the host's part of the URL too early. Nothing of it is shown."""
    if parts.fragment or "@" in parts.path or any("@" in key for key in _options(parts.query)):
        raise ConfigurationError(f"queue: {_ESCAPES}")


def _options(query: str) -> dict[str, str]:
    """The options of a URL. A plus is a plus: keys and passwords in base64 have them."""
    return dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))


def _shown(scheme: str, netloc: str, path: str) -> str:
    return f"{scheme}://{netloc.rpartition('@')[2]}{path}"[:200]


def _engine(scheme: str, shown: str) -> None:
    if scheme not in _ENGINES:
        raise ConfigurationError(f"queue {shown}: the scheme is not one of {', '.join(_ENGINES)}")
    module, extra = _ENGINES[scheme]
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(f"queue {shown}: needs {module}: pip install 'anthropic-exporter[{extra}]'")


def _number(text: str, name: str, most: int, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= most):  # noqa: PLR2004 - digits
        raise ConfigurationError(f"queue {shown}: {name}={text[:20]!r} is not a number from 1 to {most}")
    return int(text)
