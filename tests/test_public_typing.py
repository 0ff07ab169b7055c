"""The package is typed for its users: mypy, strict, on a file that uses the public API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PATIENCE_SECONDS = 300
SAMPLE = Path(__file__).with_name("typing") / "public_api.py"


def test_the_public_api_is_typed(tmp_path: Path) -> None:
    options = [
        "--strict",
        "--warn-unused-ignores",
        "--config-file=",
        f"--cache-dir={tmp_path}",
        "--follow-imports=silent",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(SAMPLE)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "Success: no issues found in 1 source file\n")
