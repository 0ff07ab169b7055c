"""`scripts/newest_tools.py` with an apt-get and a dpkg of our own; `make test-newest` runs it with the real ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "newest_tools.py"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_GET = """#!/bin/sh
case "$*" in
  *indextargets*) printf 'http://127.0.0.1/debian-security/\\nhttp://127.0.0.1/debian/\\n';;
  *" download "*) cat "$(sed -n 's/.*sourcelist "\\(.*\\)";/\\1/p' "$APT_CONFIG")" >> {log}
    for package; do :; done; [ "$package" = {missing} ] || touch "$package.deb";;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin"
for name in prometheus promtool prometheus-alertmanager amtool; do
  printf '#!/bin/sh\\necho "%s, version 9.9.9 (branch)"\\n' "$name" > "$3/usr/bin/$name"; chmod +x "$3/usr/bin/$name"
done
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A PATH of its own, with a shell's basics; returns what puts Debian's programs there."""
    path = tmp_path / "path"
    path.mkdir()
    for name in ("sh", "mkdir", "touch", "chmod", "cat", "sed", "dirname"):
        (path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(path))

    def debian(missing: str) -> Path:
        for name, text in (("apt-get", APT_GET.format(log=tmp_path / "log", missing=missing)), ("dpkg", DPKG)):
            (path / name).write_text(text)
            (path / name).chmod(0o755)
        return tmp_path / "log"

    return debian


def newest_tools(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_without_apt_it_says_what_to_do_instead(machine: Callable[..., Any], tmp_path: Path) -> None:
    done = newest_tools(tmp_path / "newest")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "newest_tools.py: error: this is not Debian: put a newer Prometheus on PATH and run `make test`"
    )


@pytest.mark.skipif(not KEYS.exists(), reason="Debian's keys are not here")
def test_the_programs_of_the_suite_are_unpacked_from_the_mirror_that_apt_knows(
    machine: Callable[..., Any], tmp_path: Path
) -> None:
    log = machine(missing="none")
    done = newest_tools(tmp_path / "newest", "--suite", "trixie")
    assert done.stdout.splitlines() == [
        "prometheus, version 9.9.9",
        "promtool, version 9.9.9",
        "prometheus-alertmanager, version 9.9.9",
        "amtool, version 9.9.9",
    ]
    assert set(log.read_text().splitlines()) == {f"deb [signed-by={KEYS}] http://127.0.0.1/debian/ trixie main"}


@pytest.mark.skipif(not KEYS.exists(), reason="Debian's keys are not here")
def test_a_package_that_is_not_to_be_had_is_named(machine: Callable[..., Any], tmp_path: Path) -> None:
    machine(missing="promtool")
    done = newest_tools(tmp_path / "newest")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "newest_tools.py: error: promtool: not to be had from the suite sid of http://127.0.0.1/debian/"
    )
