"""`anthropic-exporter serve` as a process of its own."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

PATIENCE_SECONDS = 60
TOKEN = "a-long-random-word"


class Exporter:
    """`anthropic-exporter serve` as a process."""

    def __init__(self, *arguments: Any, **environment: str) -> None:
        command = [sys.executable, "-m", "anthropic_exporter.cli", "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
        )
        self._lines: Any = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.says("serving"))[0]

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def says(self, text: str) -> str:
        """What is said up to and with this text, waited for."""
        said = ""
        while line := self._lines.get(timeout=PATIENCE_SECONDS):
            said += line
            if text in line:
                return said
        raise AssertionError(f"{text!r} was not said, but {said}")

    def post(self, path: str, *alerts: dict[str, Any], token: str | None = TOKEN) -> int:
        headers = {"Content-Type": "application/json"}
        headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.url + path, json.dumps({"alerts": alerts}).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return response.status
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE_SECONDS) as response:
            return response.read().decode()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        while self._lines.get(timeout=PATIENCE_SECONDS):
            pass
        self.process.stdout.close()
