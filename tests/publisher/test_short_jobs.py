"""However a job ends, what it counted arrives; and a queue that is gone holds it up for 5 s at most."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.cells_message import decode
from anthropic_exporter.transport.opening import open_transport
from fleet_messages import total
from ports import free_port
from queue_engines import Redis

pytest.importorskip("redis")
PATIENCE_SECONDS = 60
BEGIN = """
import atexit, os, signal, sys, threading, time
from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, publishing
recorder, url = Recorder(registry=None), sys.argv[1]
def job():
    recorder.record(Call("claude-sonnet-4-6", inferences=(Inference("claude-sonnet-4-6", Tokens(output=171)),)))
def whole_job():
    with publishing(recorder, url, service="nightly"):
        job()
"""
INTERRUPTED = """
with publishing(recorder, url, service="nightly"):
    job()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
IN_A_THREAD = """
begin = threading.Thread(target=lambda: publish(recorder, url, service="nightly"))
begin.start()
begin.join()
job()
"""
#: What a job does, and its exit code.
ENDS = {
    "raises": ('with publishing(recorder, url, service="nightly"):\n    job()\n    raise ValueError("job")', 1),
    "exits": ('with publishing(recorder, url, service="nightly"):\n    job()\n    sys.exit(3)', 3),
    "is interrupted": (INTERRUPTED, -2),
    "ends without closing": ('publish(recorder, url, service="nightly")\njob()', 0),
    "publishes in a thread that ends": (IN_A_THREAD, 0),
    "begins after the main thread ended": (
        "def late():\n    threading.main_thread().join()\n    whole_job()\nthreading.Thread(target=late).start()",
        0,
    ),
    "begins when the interpreter ends": ("atexit.register(whole_job)", 0),
    "publishes twice": (
        'first, second = (publish(recorder, url, service="nightly") for _ in range(2))\njob()\nfirst.close()',
        0,
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def run(source: str, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + source, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


@pytest.mark.parametrize(("source", "code"), ENDS.values(), ids=ENDS.keys())
def test_what_a_job_counted_arrives_once(server: Redis, source: str, code: int, request: pytest.FixtureRequest) -> None:
    stream = re.sub(r"\W", "-", request.node.callspec.id)
    done = run(source, f"{server.url}?stream={stream}")
    assert done.returncode == code, done.stderr
    fleet, transport = Fleet("life"), open_transport(parse(server.url), stream)
    for one in transport.receive(1000, 0.05):
        fleet.take(decode(one.data), 0.0)
    transport.close()
    assert total(fleet, "anthropic_tokens_total", type="output") == 171.0
    assert [member.finished for member in fleet.members.values()] == [True]


#: With half a second in place of five, and the exit of the process included in the time of the test.
TIMED = """
from anthropic_exporter.publisher import publisher as module
assert module.Publisher.close.__defaults__ == (5.0,)
module.Publisher.close.__defaults__ = (0.5,)
try:
    with publishing(recorder, url, service="nightly"):
        job()
        began = time.monotonic()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print(time.monotonic() - began)
"""


@pytest.mark.parametrize("is_listening", [True, False], ids=["hangs", "refuses connections"])
@pytest.mark.parametrize("scheme", ["redis", "nats", "kafka", "redis+sentinel", "redis+cluster"])
def test_a_queue_that_is_gone_holds_an_interrupted_job_up_for_five_seconds_at_most(
    scheme: str, is_listening: bool
) -> None:
    pytest.importorskip({"nats": "nats", "kafka": "confluent_kafka"}.get(scheme, "redis"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1] if is_listening else free_port()
        done = run(TIMED, f"{scheme}://127.0.0.1:{port}" + ("/main" if "sentinel" in scheme else ""))
    assert done.returncode == 0, done.stderr
    assert 0.4 < float(done.stdout) < PATIENCE_SECONDS / 2
    assert "did not accept the last messages within" in done.stderr
