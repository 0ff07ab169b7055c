"""What importing the library adds to a process that has the SDK: milliseconds, resident memory."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

QUICK = "--quick" in sys.argv
PROGRAM = """
import resource, sys, time
import anthropic
for path in open("/proc/self/statm"): before = int(path.split()[1])
began = time.process_time()
import {module}
spent = time.process_time() - began
for path in open("/proc/self/statm"): after = int(path.split()[1])
print(spent * 1000, (after - before) * resource.getpagesize() / 1e6)
"""
MODULES = {
    "anthropic_exporter": "import anthropic_exporter",
    "anthropic_exporter.capture": "import anthropic_exporter, with the middleware",
    "anthropic_exporter; anthropic_exporter.Recorder(registry=None)": "the same, with a first Recorder()",
    "prometheus_client": "import prometheus_client alone",
    "opentelemetry.instrumentation.anthropic, opentelemetry.sdk.metrics": "the OpenTelemetry instrumentation and SDK",
}


def compiled() -> None:
    """Compile the library as an installation from a wheel does, wherever the checkout is used from."""
    compileall.compile_dir(Path(__file__).parents[2] / "exporter", quiet=2)


def measured(module: Any) -> Any:
    code = PROGRAM.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return tuple(map(float, done.stdout.split())) if done.returncode == 0 else None


def main() -> None:
    compiled()
    print("\nadded to a process that has imported anthropic (bar: 20 ms, 3 MB)")
    for module, name in MODULES.items():
        found = [one for one in (measured(module) for _ in range(3 if QUICK else 9)) if one]
        if found:
            milliseconds, megabytes = (statistics.median(values) for values in zip(*found, strict=True))
            print(f"  {name:52}{milliseconds:8.1f} ms{megabytes:8.1f} MB")
        else:
            print(f"  {name:52}not installed")


if __name__ == "__main__":
    main()
