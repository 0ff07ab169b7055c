"""Unpack the newest Prometheus and Alertmanager that Debian has, beside this machine's own: `make test-newest`.

    python scripts/newest_tools.py FOLDER                  into FOLDER/bin, those of Debian's unstable suite
    python scripts/newest_tools.py FOLDER --suite trixie   those of Debian 13

The bundle promises every Prometheus from 2.42 on, and a machine has one of them. It needs a Debian, whose apt knows a
mirror, and no root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from anthropic_exporter import toolchain
from anthropic_exporter.toolchain import debian

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror() -> str | None:
    """The mirror that apt has Debian itself from."""
    if not (debian.available() and KEYS.exists()):
        return None
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return next((uri for uri in found if not uri.rstrip("/").endswith("-security")), None)


def point_apt_at(uri: str, suite: str, folder: Path) -> None:
    """Have every apt-get that this process starts know this suite and no other."""
    sources, configuration = folder / "sources.list", folder / "apt.conf"
    sources.write_text(f"deb [signed-by={KEYS}] {uri} {suite} main\n")
    configuration.write_text(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n')
    os.environ["APT_CONFIG"] = str(configuration)


def unpack(home: Path) -> list[str]:
    """Unpack the tools unless they are there; the packages that could not be had."""
    if all((home / "bin" / name).exists() for name in toolchain.DEFAULT):
        return []
    packages = dict.fromkeys(toolchain.TOOLS[name].packages[0] for name in toolchain.DEFAULT)
    with debian.exclusive(home):
        return [package for package in packages if not toolchain.unpack_package(package, home)]


def version(program: Path) -> str:
    """The first words of what a program says of itself: "prometheus, version 3.5.3"."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).split(" (")[0]


def main() -> int:
    """Unpack and say which versions; 2 where they are not to be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=lambda given: Path(given).resolve(), metavar="FOLDER")
    parser.add_argument("--suite", default="sid")
    options = parser.parse_args()
    uri = mirror()
    if uri is None:
        parser.error("this is not Debian: put a newer Prometheus on PATH and run `make test`")
    with tempfile.TemporaryDirectory() as folder:
        point_apt_at(uri, options.suite, Path(folder))
        absent = unpack(options.folder)
    if absent:
        parser.error(f"{', '.join(absent)}: not to be had from the suite {options.suite} of {uri}")
    for name in toolchain.DEFAULT:
        sys.stdout.write(f"{version(options.folder / 'bin' / name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
