"""One process alone works where there is no fork and no locks of POSIX, as on Windows."""

from __future__ import annotations

import json
import subprocess
import sys

LIKE_WINDOWS = """
import os, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "register_at_fork", "posix_fallocate", "getuid", "geteuid"):
    delattr(os, name)
"""
USE = """
import json, tempfile, urllib.request
from anthropic_exporter import Recorder, attribution, serve
from anthropic_exporter.guard import Guard, Limits

recorder = Recorder(registry=None)
guard = Guard(recorder, Limits.shipped().replace(cost_usd_per_day=1.0), state_dir=tempfile.mkdtemp())
guard.breaker(scope="total", when=["daily_cost"], action="block")
with serve(recorder, port=0) as running, attribution(feature="chat"):
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 1_000_000, "output_tokens": 171})
    page = urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics").read().decode()
    alerts = [alert.condition for alert in guard.alerts()]
print(json.dumps([page, alerts]))
"""
IMPORT = """
import importlib, pkgutil, anthropic_exporter
for module in pkgutil.walk_packages(anthropic_exporter.__path__, "anthropic_exporter."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(module.name)
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", LIKE_WINDOWS + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_process_is_measured_and_guarded() -> None:
    page, alerts = json.loads(run(USE))
    assert (
        'anthropic_tokens_total{feature="chat",model="claude-opus-5-5",tier="standard",type="output",user=""} 171.0'
        in page
    )
    assert 'anthropic_exporter_workers{state="alive"} 1.0' in page
    assert "daily_cost" in alerts


def test_only_what_several_processes_share_needs_the_locks() -> None:
    assert run(IMPORT).split() == [
        f"anthropic_exporter.host.{name}" for name in ("cell_folder", "locks", "membership", "shipping")
    ]
