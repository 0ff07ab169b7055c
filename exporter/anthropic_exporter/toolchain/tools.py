"""Finds Prometheus and its tools: on PATH, in Homebrew, or unpacked from the distribution's packages.

Nothing is installed and nothing needs root: on Debian and Ubuntu, `apt-get` downloads a missing tool into `.tools/`
and `dpkg` unpacks it there.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.toolchain import debian, relocated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Tool(NamedTuple):
    """One executable: the names it goes by, the packages that may hold it, the oldest version that runs the bundle.

    `program` is its path in the package, unless that is `usr/bin` and one of the names.
    """

    aliases: tuple[str, ...]
    packages: tuple[str, ...]
    formula: str
    oldest: tuple[int, int] | None = None
    program: str = ""


_ALERTMANAGER = ("alertmanager", "prometheus-alertmanager")  # the second is Debian's name for it

#: keep_firing_for came with Prometheus 2.42, routing_key_file with Alertmanager 0.25 (changelogs, read 2026-11-21).
TOOLS = {
    "prometheus": Tool(("prometheus",), ("prometheus",), "prometheus", (2, 42)),
    # A separate package since Debian 13, part of the server's package before.
    "promtool": Tool(("promtool",), ("promtool", "prometheus"), "prometheus", (2, 42)),
    "alertmanager": Tool(_ALERTMANAGER, ("prometheus-alertmanager",), "alertmanager", (0, 25)),
    "amtool": Tool(("amtool",), ("prometheus-alertmanager",), "alertmanager", (0, 25)),
    "redis-server": Tool(("redis-server",), ("redis-server",), "redis"),
    "nats-server": Tool(("nats-server",), ("nats-server",), "nats-server", program="usr/sbin/nats-server"),
    "victoria-metrics": Tool(("victoria-metrics",), ("victoria-metrics",), "victoriametrics"),
    "vmalert": Tool(("vmalert",), ("victoria-metrics",), "victoriametrics"),
    # The driver depends on its browser, whose launcher only works in /usr.
    "chromedriver": Tool(("chromedriver",), ("chromium-driver",), "chromedriver"),
    "chromium": Tool(
        ("chromium", "chromium-browser", "google-chrome"),
        ("chromium-driver",),
        "chromium",
        program="usr/lib/chromium/chromium",
    ),
}
DEFAULT = ("prometheus", "promtool", "alertmanager", "amtool")


def find(name: str) -> Path | None:
    """The executable of this name that is new enough, or None. Downloads nothing.

    Raises:
        ConfigurationError: a name that is not in `TOOLS`.
    """
    tool = _tool(name)
    return next((path for path in _candidates(tool) if _recent_enough(path, tool.oldest)), None)


def provide(names: Iterable[str] = DEFAULT) -> dict[str, Path]:
    """Return the path of each of these tools; unpack the missing ones first. Concurrent callers are safe.

    Raises:
        ConfigurationError: a tool is missing and cannot be unpacked; the message says what to install.
    """
    found = {name: find(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        _unpack(missing)
        found |= {name: find(name) for name in missing}
    if absent := [name for name, path in found.items() if path is None]:
        raise ConfigurationError(_advice(absent))
    return {name: path for name, path in found.items() if path is not None}


def home() -> Path:
    """The folder for unpacked tools: `.tools` in a checkout, otherwise a folder in the user's cache."""
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file() and os.access(checkout, os.W_OK):
        return checkout / ".tools"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "anthropic-exporter" / "tools"


def _tool(name: str) -> Tool:
    if name not in TOOLS:
        raise ConfigurationError(f"toolchain: {name!r} is not one of {', '.join(TOOLS)}")
    return TOOLS[name]


def _candidates(tool: Tool) -> Iterable[Path]:
    homebrew = _homebrew_prefix()
    search = (None, str(home() / "bin"), f"{homebrew}/bin" if homebrew else "")
    for folders in search:
        for alias in tool.aliases:
            if folders != "" and (hit := shutil.which(alias, path=folders)):
                yield Path(hit)


@functools.cache
def _homebrew_prefix() -> str:
    brew = shutil.which("brew")
    return _output([brew, "--prefix"]).strip() if brew else ""


@functools.cache
def _recent_enough(path: Path, oldest: tuple[int, int] | None) -> bool:
    if oldest is None:
        return True
    version = re.search(r"version (\d+)\.(\d+)", _output([str(path), "--version"]))
    return version is not None and (int(version[1]), int(version[2])) >= oldest


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _unpack(names: Sequence[str]) -> None:
    if not debian.available():
        return
    tried: set[str] = set()
    with debian.exclusive(home()):
        for name, package in ((tool, package) for tool in names for package in TOOLS[tool].packages):
            if package not in tried and find(name) is None:
                tried.add(package)
                unpack_package(package, home())
                _recent_enough.cache_clear()


def unpack_package(package: str, folder: Path) -> bool:
    """Unpack a package of the distribution and link its tools in `folder/bin`; False if it cannot be downloaded."""
    tree = debian.unpack(package, folder)
    if tree is None:
        return False
    for tool in (tool for tool in TOOLS.values() if package in tool.packages):
        places = [tool.program] if tool.program else [f"usr/bin/{name}" for name in tool.aliases]
        program = next((tree / place for place in places if (tree / place).exists()), None)
        if program is not None:
            relocated.show(program, tree / "usr", folder / "bin" / tool.aliases[0])
    return True


def _advice(absent: Sequence[str]) -> str:
    wanted = ", ".join(name + _floor(TOOLS[name].oldest) for name in absent)
    formulas = " ".join(dict.fromkeys(TOOLS[name].formula for name in absent))
    packages = " ".join(dict.fromkeys(TOOLS[name].packages[-1] for name in absent))
    advice = f"{wanted} not found: put it on PATH, or run `brew install {formulas}` or `apt-get install {packages}`"
    return advice + (" (and promtool, from Debian 13 on)" if "promtool" in absent else "")


def _floor(oldest: tuple[int, int] | None) -> str:
    return f" {oldest[0]}.{oldest[1]} or later" if oldest else ""
