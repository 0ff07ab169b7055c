"""What happens to a Redis that has replicas, is a cluster, or whose administrator changes keys and users."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.interface import NEWEST, TransportError
from anthropic_exporter.transport.opening import open_transport
from anthropic_exporter.transport.redis_streams import RedisStream
from collectors import wait_until
from ports import free_port
from queue_engines import Redis, Sentinel

redis = pytest.importorskip("redis")


def opened(url: str, stream: str = "cells", **options: Any) -> RedisStream:
    return open_transport(parse(url), stream, **options)  # type: ignore[return-value]


def admin_of(server: Redis) -> Any:
    return redis.Redis(port=server.port, protocol=2)


def texts(queue: RedisStream, seconds: float = 0.05) -> list[bytes]:
    return [one.data for one in queue.receive(10, seconds)]


AT_ONCE = ("--repl-diskless-sync-delay", "0")


def is_sent(queue: RedisStream, message: bytes) -> bool:
    try:
        queue.send([message])
    except TransportError:
        return False
    return True


def texts_while_down(queue: RedisStream) -> list[bytes]:
    """What came; nothing while the server cannot be reached."""
    try:
        return texts(queue)
    except TransportError:
        return []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared: Redis) -> Redis:
    admin_of(shared).flushall()
    return shared


REMOVALS: dict[str, Callable[[Any], object]] = {
    "deleted": lambda admin: admin.delete("cells"),
    "everything deleted": lambda admin: admin.flushall(),
    "renamed": lambda admin: admin.rename("cells", "elsewhere"),
    "trimmed to nothing": lambda admin: admin.xtrim("cells", maxlen=0, approximate=False),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
@pytest.mark.parametrize("is_idle", [True, False], ids=["seen by the reader", "sent to at once"])
def test_a_removed_stream_continues(server: Redis, remove: Callable[[Any], object], is_idle: bool) -> None:
    sender, receiver = opened(server.url), opened(server.url)
    sender.send([b"one", b"two"])
    assert texts(receiver) == [b"one", b"two"]
    remove(admin_of(server))
    if is_idle:
        assert texts(receiver) == []
    sender.send([b"three"])
    assert texts(receiver) == [b"three"]
    assert texts(receiver) == []


def test_a_key_of_another_type_is_reported_until_it_is_gone(server: Redis) -> None:
    admin_of(server).set("cells", "of somebody else")
    sender, receiver = opened(server.url), opened(server.url)
    with pytest.raises(TransportError, match=r"failed: .*WRONGTYPE"):
        sender.send([b"message"])
    with pytest.raises(TransportError, match=r"failed: .*WRONGTYPE"):
        receiver.receive(10, 0.05)
    admin_of(server).delete("cells")
    sender.send([b"message"])
    assert texts(receiver) == [b"message"]


def url_of(server: Redis, *permissions: str, keys: str = "~cells*") -> str:
    admin_of(server).execute_command("ACL", "SETUSER", "team", "reset", "on", ">s3cret", keys, *permissions)
    return f"redis://team:s3cret@127.0.0.1:{server.port}"


def test_a_user_needs_the_documented_commands_only(server: Redis) -> None:
    url = url_of(server, "+xadd")
    opened(url).send([b"one", b"two"])
    url = url_of(server, "+xread", "+xinfo", "+xrevrange")
    receiver, follower = opened(url), opened(url, start=NEWEST)
    assert [texts(receiver), texts(receiver)] == [[b"one", b"two"], []]
    assert [texts(follower), texts(follower)] == [[b"two"], []]


@pytest.mark.parametrize("permissions", [("+xadd",), ("+xread",), ("-@all",)])
def test_a_reader_without_a_command_says_so_and_never_reads_again(server: Redis, permissions: tuple[str, ...]) -> None:
    opened(server.url).send([b"message"])
    receiver = opened(url_of(server, *permissions))
    received = []
    for _ in range(4):
        try:
            received += texts(receiver)
        except TransportError as error:
            assert str(error).startswith("refused: NOPERM: allow XADD to publishers")  # noqa: PT017 - or it received
    assert len(received) <= 1


def test_a_sender_without_the_command_or_the_key_is_refused(server: Redis) -> None:
    for url in (url_of(server, "+xread"), url_of(server, "+@all", keys="~other")):
        with pytest.raises(TransportError, match="refused: NOPERM"):
            opened(url).send([b"message"])


def test_a_password_that_changes_is_refused_until_it_changes_back(tmp_path: Path) -> None:
    with Redis(tmp_path, "--requirepass", "old") as server:
        queue = opened(f"redis://:old@127.0.0.1:{server.port}")
        queue.send([b"one"])
        admin = redis.Redis(port=server.port, password="old", protocol=2)
        admin.config_set("requirepass", "new")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(2):
            with pytest.raises(TransportError, match="refused"):
                queue.send([b"never"])
        admin.config_set("requirepass", "old")
        queue.send([b"two"])
        assert texts(queue) == [b"one", b"two"]


def test_a_server_without_the_newer_protocol(tmp_path: Path) -> None:
    """Redis 5 has no HELLO."""
    with Redis(tmp_path, "--rename-command", "HELLO", "") as server:
        queue = opened(server.url)
        queue.send([b"message"])
        assert texts(queue) == [b"message"]


# -- replicas


def pair(folder: Path) -> tuple[Redis, Redis]:
    return Redis(folder / "a", *AT_ONCE), Redis(folder / "b", *AT_ONCE)


def follow(replica: Redis, primary: Redis) -> None:
    admin_of(replica).replicaof("127.0.0.1", primary.port)
    wait_until(lambda: admin_of(replica).info("replication").get("master_link_status") == "up")


def test_a_primary_that_becomes_a_replica_is_reported(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    with one, other:
        follow(other, one)
        queue = opened(one.url)
        queue.send([b"message"])
        admin_of(other).replicaof("NO", "ONE")
        follow(one, other)
        with pytest.raises(TransportError, match=r"failed: READONLY: .*redis\+sentinel://"):
            queue.send([b"never"])


def test_after_a_failure_the_name_is_looked_up_again(tmp_path: Path) -> None:
    """A service that follows the primary leads new connections to it; those to the old one stay."""
    one, other = pair(tmp_path)
    with one, other:
        queue = opened(one.url)
        queue.send([b"before"])
        admin_of(one).replicaof("127.0.0.1", other.port)
        with pytest.raises(TransportError):
            queue.send([b"never"])
        connections = [client for client in admin_of(one).client_list() if client["cmd"] == "xadd"]
        assert connections == []


def test_sentinels_lead_to_the_new_primary(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    with one, other, Sentinel(tmp_path / "s", one) as sentinel:
        follow(other, one)
        sender, receiver = opened(sentinel.url), opened(sentinel.url)
        sender.send([b"before"])
        assert texts(receiver) == [b"before"]
        watching = redis.Redis(port=sentinel.port, protocol=2)
        wait_until(lambda: watching.info("sentinel")["master0"]["slaves"] == 1)
        one.kill()
        wait_until(lambda: is_sent(sender, b"after"))
        wait_until(lambda: b"after" in texts_while_down(receiver))
        assert texts(opened(other.url))[0] == b"before"


def test_a_primary_that_sentinels_do_not_know(tmp_path: Path) -> None:
    with Redis(tmp_path / "a") as one, Sentinel(tmp_path / "s", one) as sentinel:
        queue = opened(sentinel.url.replace("/main", "/other"))
        with pytest.raises(TransportError, match="unreachable: MasterNotFoundError"):
            queue.send([b"never"])


# -- clusters


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Redis]]:
    """Two nodes with half of the slots each."""
    folder = tmp_path_factory.mktemp("cluster")
    found = [
        Redis(folder / name, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) for name in ("a", "b")
    ]
    with found[0], found[1]:
        admins = [admin_of(node) for node in found]
        for admin, slots in zip(admins, ((0, 8191), (8192, 16383)), strict=True):
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        admins[0].execute_command("CLUSTER", "MEET", "127.0.0.1", found[1].port, found[1].arguments[-1])
        wait_until(lambda: all(b"state:ok" in admin.execute_command("CLUSTER", "INFO") for admin in admins))
        yield found


def test_a_single_node_says_that_it_is_one_of_a_cluster(nodes: list[Redis]) -> None:
    other = opened(nodes[1].url, "anthropic-cells")  # its slot is 5738
    with pytest.raises(TransportError, match=r"failed: MOVED: .*use redis\+cluster://"):
        other.send([b"message"])


@pytest.mark.parametrize("stream", ["anthropic-cells", "anthropic-cells-breakers", "anthropic-cells-3"])
def test_a_cluster_takes_each_stream_to_its_node(nodes: list[Redis], stream: str) -> None:
    url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
    sender, receiver, follower = opened(url, stream), opened(url, stream), opened(url, stream, start=NEWEST)
    sender.send([b"one", b"two"])
    assert [texts(receiver), texts(receiver)] == [[b"one", b"two"], []]
    assert [texts(follower), texts(follower)] == [[b"two"], []]
    for queue in (sender, receiver, follower):
        queue.close()


def test_a_stream_that_moves_to_another_node_is_followed(nodes: list[Redis]) -> None:
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    sender, receiver = opened(url, "moving"), opened(url, "moving")
    sender.send([b"one"])
    assert texts(receiver) == [b"one"]
    move(nodes, "moving")
    sender.send([b"two"])
    assert texts(receiver) == [b"two"]
    sender.close()
    receiver.close()


def move(nodes: list[Redis], key: str) -> None:
    """Move a key to the other node, as `redis-cli --cluster reshard` does."""
    admins = [admin_of(node) for node in nodes]
    slot = admins[0].execute_command("CLUSTER", "KEYSLOT", key)
    source, target = (0, 1) if slot < 8192 else (1, 0)
    names = [admin.execute_command("CLUSTER", "MYID").decode() for admin in admins]
    admins[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    admins[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    admins[source].execute_command("MIGRATE", "127.0.0.1", nodes[target].port, key, 0, 5000)
    for admin in (admins[target], admins[source]):
        admin.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])


def test_a_cluster_that_is_down_is_unreachable() -> None:
    began = time.monotonic()
    queue = opened(f"redis+cluster://127.0.0.1:{free_port()}")
    with pytest.raises(TransportError, match="unreachable"):
        queue.send([b"never"])
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://queue:26379", "name the primary that the Sentinels watch"),
        ("redis+sentinel://queue:26379/main/one", "must be the number of a database"),
        ("redis+sentinel://one:x,two:1/main", "host:port,host:port"),
        ("redis+cluster://queue:6379/1", "no numbered databases"),
        ("redis+cluster://one,,two", "host:port,host:port"),
        ("redis+cluster://queue?sentinel_password=s3cret", "unknown option sentinel_password"),
        ("redis+sentinel://queue/main?ssl_ca_certs=x", "needs rediss://"),
    ],
)
def test_a_wrong_url_is_an_error_at_start(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        opened(url)
    assert "s3cret" not in f"{caught.value}"
