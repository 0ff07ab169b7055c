"""Clients of Redis: of one server, of the primary that Sentinels name, and of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport import tls
from anthropic_exporter.transport.address import Address

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_PORT, _SENTINEL_PORT = 6379, 26379
#: TLS options that a URL may contain, with the names of the client library.
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
#: Options of a URL with Sentinels: their own user and password.
_SENTINEL = frozenset({"sentinel_username", "sentinel_password"})


def opener(address: Address) -> Callable[[], Any]:
    """A function that makes a client; the URL is checked now, and the servers are asked when the client is used.

    Raises:
        ConfigurationError: the URL, or a file that it names, cannot be used.
    """
    tls_options = _tls_options(address)
    if address.scheme.endswith("+sentinel"):
        return _sentinel(address, tls_options)
    if address.scheme.endswith("+cluster"):
        return _cluster(address, tls_options)
    return _single(address, tls_options)


def _single(address: Address, tls_options: dict[str, Any]) -> Callable[[], Any]:
    _database(urlsplit(address.url).path.strip("/"), address)

    def connect() -> redis.Redis:
        return redis.Redis.from_url(address.url, **_common(), **tls_options)

    try:
        connect()
    except (ValueError, TypeError, redis.RedisError) as error:
        raise ConfigurationError(f"queue {address.shown}: the Redis client does not accept this URL") from error
    return connect


def _sentinel(address: Address, tls_options: dict[str, Any]) -> Callable[[], Any]:
    """The primary is asked for at each new connection, so that it is the new one after a failover."""
    name, _, database = urlsplit(address.url).path.strip("/").partition("/")
    if not name:
        raise ConfigurationError(
            f"queue {address.shown}: name the primary that the Sentinels watch, as in "
            "redis+sentinel://sentinel-1:26379,sentinel-2:26379/mymaster"
        )
    own = {key.removeprefix("sentinel_"): address.options[key] for key in sorted(_SENTINEL & address.options.keys())}
    shared = {**_common(), **tls_options, **({"ssl": True} if address.is_tls else {})}
    hosts = _hosts(address, _SENTINEL_PORT)
    options = {**shared, **_credentials(address), "db": _database(database, address)}
    return lambda: Sentinel(hosts, sentinel_kwargs={**shared, **own}).master_for(name, **options)


def _cluster(address: Address, tls_options: dict[str, Any]) -> Callable[[], Any]:
    """The client finds the node that has the stream, and follows it when it moves."""
    if urlsplit(address.url).path.strip("/"):
        raise ConfigurationError(f"queue {address.shown}: a cluster has no numbered databases: leave out the path")
    hosts = _hosts(address, _PORT)
    options = {**_common(), **tls_options, **_credentials(address), **({"ssl": True} if address.is_tls else {})}
    return lambda: RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **options)


def _common() -> dict[str, Any]:
    return {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # the caller tries again, with newer values
        "health_check_interval": 0,
        "protocol": 2,  # Redis 5 knows no other
    }


def _database(text: str, address: Address) -> int:
    if text and not text.isdigit():
        raise ConfigurationError(
            f"queue {address.shown}: the path must be the number of a database, as in redis://queue/0"
        )
    return int(text or 0)


def _hosts(address: Address, default_port: int) -> list[tuple[str, int]]:
    found = []
    for host in urlsplit(address.url).netloc.rpartition("@")[2].split(","):
        try:
            parts = urlsplit(f"//{host}")
            found.append((parts.hostname or "", parts.port or default_port))
        except ValueError:
            found.append(("", 0))
    if not all(host for host, _ in found):
        raise ConfigurationError(f"queue {address.shown}: write its servers as host:port,host:port")
    return found


def _credentials(address: Address) -> dict[str, str]:
    user, at, _ = urlsplit(address.url).netloc.rpartition("@")
    name, _, password = user.partition(":")
    given = {"username": unquote(name), "password": unquote(password)} if at else {}
    return {key: value for key, value in given.items() if value}


def _tls_options(address: Address) -> dict[str, Any]:
    is_sentinel = address.scheme.endswith("+sentinel")
    unknown = address.options.keys() - (_TLS | _SENTINEL if is_sentinel else _TLS)
    if unknown:
        raise ConfigurationError(f"queue {address.shown}: unknown option {', '.join(sorted(unknown))[:80]}")
    options: dict[str, Any] = {key: address.options[key] for key in sorted(_TLS & address.options.keys())}
    if options and not address.is_tls:
        raise ConfigurationError(f"queue {address.shown}: {', '.join(options)} needs rediss://")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in ("0", "no", "false")
    if "ssl_ca_certs" in options:
        tls.trusting(options["ssl_ca_certs"], address)
    for name in sorted(options.keys() & {"ssl_certfile", "ssl_keyfile"}):
        _readable(options[name], name, address)
    return options


def _readable(path: str, name: str, address: Address) -> None:
    try:
        bounded_files.read_bytes(Path(path), bounded_files.MOST_PEM_BYTES)
    except ConfigurationError as error:
        raise ConfigurationError(f"queue {address.shown}: {name}: {error}") from error
