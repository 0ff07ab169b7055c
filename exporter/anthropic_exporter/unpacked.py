"""Programs that run from the tree they were unpacked into, although they were built for `/usr`."""

from __future__ import annotations

import os
from pathlib import Path

#: Debian builds the path of templates and web pages into Prometheus and Alertmanager, and Alertmanager does not start
#: without its templates. A path of the same length stands in for it; the launcher opens the folder as descriptor 9.
_BUILT_IN = b"/usr/share/prometheus"
_STAND_IN = b"/proc/self/fd/9".ljust(len(_BUILT_IN), b"/")
_SHARE = Path("share/prometheus")


def show(program: Path, tree: Path, target: Path) -> None:
    """Make `target` a launcher of `program`, whole from the first moment that anybody can see it.

    Args:
        program: the executable, somewhere below `tree`.
        tree: what stands in for `/usr`.
        target: where callers find it.
    """
    target.parent.mkdir(exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(_launcher(program, tree, target.parent, relocated=_relocate(program)))
    fresh.chmod(0o755)
    fresh.replace(target)


def _launcher(program: Path, tree: Path, folder: Path, *, relocated: bool) -> str:
    lines = ["#!/bin/sh", f'tree="$(dirname "$0")/{os.path.relpath(tree, folder)}"']
    if relocated:
        lines.append(f'exec 9<"$tree/{_SHARE}"')
    root = tree.parent  # some libraries are at home in /lib, and fonts are described in /etc
    if libraries := sorted([*tree.glob("lib/*-linux-*"), *root.glob("lib/*-linux-*")]):
        path = ":".join(f"$tree/{os.path.relpath(folder, tree)}" for folder in libraries)
        lines.append(f'export LD_LIBRARY_PATH="{path}"')
    if (root / "etc/fonts/fonts.conf").exists():
        lines.append('export FONTCONFIG_SYSROOT="$tree/.."')
    lines.append(f'exec "$tree/{program.relative_to(tree)}" "$@"')
    return "\n".join(lines) + "\n"


def _relocate(program: Path) -> bool:
    """Whether `program` looks for its own files in `tree`, from now on."""
    content = program.read_bytes()
    if _STAND_IN in content:
        return True
    if _BUILT_IN not in content:
        return False
    mode = program.stat().st_mode
    program.write_bytes(content.replace(_BUILT_IN, _STAND_IN))
    program.chmod(mode)
    return True
