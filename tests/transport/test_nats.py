"""What only a real NATS does: streams that are made again, permissions, names that are looked up at the very end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.interface import TransportError
from anthropic_exporter.transport.nats_jetstream import NatsStream
from anthropic_exporter.transport.opening import open_transport
from ports import free_port
from queue_engines import Nats

nats = pytest.importorskip("nats")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with Nats(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def opened() -> Iterator[Callable[..., NatsStream]]:
    made: list[NatsStream] = []

    def make(url: str, stream: str, **options: Any) -> NatsStream:
        made.append(open_transport(parse(url), stream, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def administer(url: str, work: Callable[[Any], Awaitable[Any]]) -> None:
    async def connected() -> None:
        client = await nats.connect(url)
        await work(client.jetstream())
        await client.close()

    asyncio.run(connected())


def texts(queue: NatsStream, seconds: float = 0.1) -> list[bytes]:
    return [one.data for one in queue.receive(100, seconds)]


def drained(queue: NatsStream, count: int) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(20):
        found += texts(queue)
        if len(found) >= count:
            break
    return found + texts(queue)


async def make_again(jetstream: Any, stream: str) -> None:
    await jetstream.delete_stream(stream)
    await jetstream.add_stream(name=stream, subjects=[stream])


@pytest.mark.parametrize("is_same_reader", [True, False], ids=["while reading", "while the reader was down"])
def test_a_stream_made_again_is_read_from_its_beginning(
    server: Nats, opened: Callable[..., NatsStream], is_same_reader: bool
) -> None:
    """Although it has grown beyond the position by then."""
    stream = f"again-{is_same_reader}"
    sender, receiver = opened(server.url, stream), opened(server.url, stream)
    sender.send([b"one", b"two"])
    found = receiver.receive(10, 5)
    receiver.acknowledge([one.token for one in found])
    administer(server.url, lambda jetstream: make_again(jetstream, stream))
    sender.send([b"three", b"four", b"five", b"six"])
    reader = receiver if is_same_reader else opened(server.url, stream, position=receiver.position)
    assert drained(reader, 4) == [b"three", b"four", b"five", b"six"]


def test_a_purged_stream_continues(server: Nats, opened: Callable[..., NatsStream]) -> None:
    sender, receiver = opened(server.url, "purged"), opened(server.url, "purged")
    sender.send([b"one"])
    assert texts(receiver, 5) == [b"one"]
    administer(server.url, lambda jetstream: jetstream.purge_stream("purged"))
    sender.send([b"two"])
    assert drained(receiver, 1) == [b"two"]


def test_a_position_of_an_older_version_is_continued(server: Nats, opened: Callable[..., NatsStream]) -> None:
    opened(server.url, "older").send([b"one", b"two"])
    assert drained(opened(server.url, "older", position="1"), 1) == [b"two"]


def test_a_user_without_permissions_is_refused(tmp_path: Path, opened: Callable[..., NatsStream]) -> None:
    configuration = tmp_path / "server.conf"
    permissions = '{publish: ["nothing"], subscribe: ["nothing"]}'
    configuration.write_text(f"authorization {{ users = [{{user: u, password: p, permissions: {permissions}}}] }}\n")
    with Nats(tmp_path / "data", "-c", str(configuration)) as server:
        queue = opened(f"nats://u:p@127.0.0.1:{server.port}", "cells")
        with pytest.raises(TransportError, match="refused"):
            queue.send([b"never"])


class WithoutJetStream(Nats):
    def command(self) -> list[str]:
        return [part for part in super().command() if part != "-js"]


def test_a_server_without_jetstream_is_named(tmp_path: Path, opened: Callable[..., NatsStream]) -> None:
    with (
        WithoutJetStream(tmp_path / "data") as server,
        pytest.raises(TransportError, match="failed: JetStream is not enabled"),
    ):
        opened(server.url, "cells").send([b"never"])


def test_an_unreachable_queue_is_reported(opened: Callable[..., NatsStream]) -> None:
    with pytest.raises(TransportError, match="unreachable: NoServersError"):  # and not a timeout after 7 s
        opened(f"nats://127.0.0.1:{free_port()}", "cells").send([b"never"])


SHORT = """
import sys
from anthropic_exporter import Call, Inference, Recorder, Tokens, publish
recorder = Recorder(registry=None)
publish(recorder, sys.argv[1], service="short")
recorder.record(Call("claude-sonnet-4-6", inferences=(Inference("claude-sonnet-4-6", Tokens(output=171)),)))
"""


def test_a_process_that_ends_at_once_sends_to_a_name(server: Nats, opened: Callable[..., NatsStream]) -> None:
    """A process that ends starts no threads, in which asyncio would look the name up."""
    url = f"nats://localhost:{server.port}?stream=short"
    done = subprocess.run([sys.executable, "-c", SHORT, url], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert len(drained(opened(server.url, "short"), 1)) == 1
