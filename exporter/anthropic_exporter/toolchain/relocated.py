"""Programs that run from the tree they were unpacked into, although they were built for `/usr`."""

from __future__ import annotations

import os
from pathlib import Path

#: Debian compiles the path of templates and web pages into Prometheus and Alertmanager, and Alertmanager does not start
#: without its templates. A path of the same length replaces it; the launcher opens the folder as descriptor 9.
_BUILT_IN = b"/usr/share/prometheus"
_STAND_IN = b"/proc/self/fd/9".ljust(len(_BUILT_IN), b"/")
_SHARE = Path("share/prometheus")
#: Names the fonts beside it; the distribution's own file names those of /usr.
_FONTS = "fonts.conf"
_FONTS_HERE = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">share/fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""


def show(program: Path, tree: Path, target: Path) -> None:
    """Make `target` a launcher of `program`, whole from the moment it exists.

    Args:
        program: the executable, somewhere below `tree`.
        tree: the folder that replaces `/usr`.
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
    if libraries := sorted(_libraries(tree.parent)):
        path = ":".join(f"$tree/{os.path.relpath(folder, tree)}" for folder in libraries)
        lines.append(f'export LD_LIBRARY_PATH="{path}"')
    if (tree / "share/fonts").exists():
        (tree / _FONTS).write_text(_FONTS_HERE)
        lines.append(f'export FONTCONFIG_FILE="$tree/{_FONTS}"')
    lines.append(f'exec "$tree/{program.relative_to(tree)}" "$@"')
    return "\n".join(lines) + "\n"


def _libraries(root: Path) -> set[Path]:
    """Library folders: some libraries are in /lib, and some packages keep theirs one level deeper."""
    found = {folder for place in ("lib", "usr/lib") for folder in root.glob(f"{place}/*-linux-*")}
    return found | {one.parent for folder in found for one in folder.glob("*/lib*.so*")}


def _relocate(program: Path) -> bool:
    """Make `program` look for its files in `tree`; returns whether it does."""
    content = program.read_bytes()
    if _STAND_IN in content:
        return True
    if _BUILT_IN not in content:
        return False
    mode = program.stat().st_mode
    program.write_bytes(content.replace(_BUILT_IN, _STAND_IN))
    program.chmod(mode)
    return True
