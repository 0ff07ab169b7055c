"""Seconds until an alert opens a breaker while a flood of other alerts arrives at the webhook and their remedy hangs.

The application runs in a process of its own; clients here post one alert a request, without a pause. `--quick`: 2 s.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

QUICK = "--quick" in sys.argv
SECONDS = 2.0 if QUICK else 10.0
TOKEN = "a-long-random-word"
APPLICATION = """
import logging, sys, threading
from anthropic_exporter import Recorder, serve
from anthropic_exporter.guard import Guard
from anthropic_exporter.remedies import Remedies
logging.disable()
recorder = Recorder(registry=None)
with Guard(recorder) as guard:
    guard.breaker(action="block", when=[])
    with Remedies(recorder, guard=guard, token_file=sys.argv[1]) as remedies:
        remedies.on("Noise", timeout_seconds=1000)(lambda _: threading.Event().wait())
        remedies.open_breaker()
        with serve(recorder, port=0, remedies=remedies) as server:
            print(server.port, flush=True)
            sys.stdin.read()
            print(sum(one.state == "open" for one in guard.breakers()), flush=True)
            import os
            os._exit(0)
"""


def body(number: int, start: str, **labels: str) -> bytes:
    one = {
        "status": "firing",
        "labels": {"alertname": "Noise", "feature": f"f{number}", **labels},
        "annotations": {"summary": "x" * 500},
        "startsAt": start,
        "fingerprint": f"{number:016x}",
    }
    return json.dumps({"version": "4", "alerts": [one]}).encode()


class Sender:
    """One client that posts alerts, on one connection as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, sent: bytes) -> int:
        """The status; 0 if the connection broke."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        try:
            self._connection.request("POST", "/alerts", sent, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return answer.status


def open_seconds(port: int, number: int, start: str) -> float:
    """Seconds until a breaker's alert is accepted; it is sent again as Alertmanager would."""
    began = time.perf_counter()
    while Sender(port).post(body(number, start, alertname="Cost", remedy="open_breaker")) != 200:
        time.sleep(0.1)
    return time.perf_counter() - began


def measured(clients: int, token: Path) -> str:
    command = [sys.executable, "-c", APPLICATION, str(token)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as application:
        assert application.stdout is not None  # for the type checker
        port = int(application.stdout.readline())
        start, stopped, statuses = dt.datetime.now(dt.timezone.utc).isoformat(), threading.Event(), Counter[int]()

        def flood(first: int) -> None:
            sender, number = Sender(port), first
            while not stopped.is_set():
                number += 1
                statuses[sender.post(body(number, start))] += 1

        threads = [threading.Thread(target=flood, args=(number * 10**6,)) for number in range(clients)]
        for one in threads:
            one.start()
        time.sleep(SECONDS)
        took = [open_seconds(port, 10**12 + number, start) for number in range(5)]
        stopped.set()
        for one in threads:
            one.join()
        opened, _ = application.communicate("")
    answered = statuses[200] + statuses[503]
    return f"{clients:9}{answered / (SECONDS + sum(took)):12.0f}{max(took):14.2f} s{opened.strip():>9} of 5"


def main() -> None:
    print("\na breaker's alert during a flood of alerts whose remedy hangs")
    print(f"{'clients':>9}{'answers a s':>12}{'open within':>16}{'open':>14}")
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        for clients in (8, 100, 300):
            print(measured(clients, token), flush=True)


if __name__ == "__main__":
    main()
