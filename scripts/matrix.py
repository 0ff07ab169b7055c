"""All that goes through the SDK on every supported Python and SDK: `make matrix`. The lowest alone: `make test-lowest`.

Each combination gets an environment of its own below .venv-matrix, made once and used again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venv-matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: The first SDK with middleware, the last on httpx, the first on httpx2, the newest.
SDKS = ("anthropic==0.108.0", "anthropic<1", "anthropic==1.0.0", "anthropic<3")
#: What the tests need beside the recorder: the fake API, pytest, and what the SDK's cloud clients sign with.
NEEDED = (
    *("uvicorn>=0.34,<1", "starlette>=0.45,<2", "pytest>=9.2", "pytest-asyncio>=1.5", "pytest-xdist>=3.8"),
    *("boto3>=1.28.57", "google-auth[requests]>=2", "hypothesis>=6.100"),
)
#: Everything that goes through the SDK.
TESTS = (
    *("tests/capture", "tests/wire", "tests/test_attribution.py"),
    *("tests/recording/test_forks.py", "tests/recording/test_error_boundary.py"),
)


def interpreters() -> dict[str, str]:
    """The supported interpreters of this machine, oldest first: by their names on PATH, then those of pyenv."""
    found = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        named = [shutil.which(f"python{version}") or "", sys.executable]
        pyenvs = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python3"))]
        working = (path for path in [*named, *pyenvs] if path and _version(path) == version)
        if path := next(working, None):
            found[version] = path
    return found


def _version(python: str) -> str:
    """The version that an interpreter says it is; empty where it does not start, as pyenv's shims may not."""
    asked = [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def lowest() -> tuple[str, ...]:
    """The lowest versions that pyproject.toml lets in, of all that the recorder depends on."""
    (wanted,) = re.findall(
        r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE
    )
    return tuple(f"{name}=={version}" for name, version in re.findall(r'"([\w-]+)>=([\w.]+)', wanted))


def environment(python: str, version: str, pins: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these versions in it.

    Raises:
        CalledProcessError: it could not be made.
    """
    home = ENVIRONMENTS / re.sub(r"[^\w.]+", "-", "-".join((f"python{version}", *pins)))
    ready, inside = home / "ready", home / "bin" / "python"
    wanted = "\n".join((*pins, *NEEDED))
    if not (ready.exists() and ready.read_text() == wanted):
        subprocess.run([python, "-m", "venv", "--clear", home], check=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        subprocess.run([inside, "-m", "pip", "install", *quiet, *pins, *NEEDED, "-e", ROOT], check=True)
        ready.write_text(wanted)
    return inside


def passes(python: str, version: str, pins: tuple[str, ...], tests: Sequence[str] = TESTS) -> bool:
    """Run the tests on one combination; True where they pass."""
    began = time.perf_counter()
    try:
        inside = environment(python, version, pins)
        options = ("-q", "-p", "no:cacheprovider", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
        done = subprocess.run([inside, "-m", "pytest", *options, *tests], cwd=ROOT, check=False, env=_bare())
        passed = done.returncode == 0
    except subprocess.CalledProcessError:
        passed = False
    word = "passed" if passed else "FAILED"
    print(f"{word}: Python {version}, {', '.join(pins)} ({time.perf_counter() - began:.0f} s)", flush=True)
    return passed


def _bare() -> dict[str, str]:
    """The surroundings without what would let in another environment's packages or plugins."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}


def main() -> None:
    """Run the matrix or its lowest corner; exit 1 where a combination fails, 2 where no Python was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowest", action="store_true", help="the lowest versions on the oldest Python alone")
    parser.add_argument("--prepare", action="store_true", help="make the environments, and run no tests")
    parser.add_argument("--python", choices=PYTHONS, action="append", help="only this Python; may be repeated")
    parser.add_argument("--sdk", choices=SDKS, action="append", help="only this SDK; may be repeated")
    parser.add_argument("tests", nargs="*", default=TESTS, help="only these files of tests")
    asked = parser.parse_args()
    found = {version: path for version, path in interpreters().items() if version in (asked.python or PYTHONS)}
    if not found:
        print(f"no Python {', '.join(asked.python or PYTHONS)} with venv on PATH or below ~/.pyenv", file=sys.stderr)
        sys.exit(2)
    sdks: list[tuple[str, ...]] = [(sdk,) for sdk in asked.sdk or SDKS]
    if asked.lowest:
        found, sdks = dict([next(iter(found.items()))]), [lowest()]
    combinations = [(version, path, pins) for version, path in found.items() for pins in sdks]
    if asked.prepare:
        for version, path, pins in combinations:
            environment(path, version, pins)
        return
    missing = [version for version in asked.python or PYTHONS if version not in found and not asked.lowest]
    results = [passes(path, version, pins, asked.tests) for version, path, pins in combinations]
    print(f"{sum(results)} of {len(results)} passed" + (f"; not here: Python {', '.join(missing)}" if missing else ""))
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
