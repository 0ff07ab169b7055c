"""Decides which service a recorder belongs to: that of its port, or that of the processes it was forked from."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from anthropic_exporter.host import runtime_dir
from anthropic_exporter.host.identity import family_root, process_name
from anthropic_exporter.logs import Log

if TYPE_CHECKING:
    from anthropic_exporter.host.membership import Membership
    from anthropic_exporter.recording.intake import Intake

_log = Log("anthropic_exporter")
_logged: set[str] = set()


def join_port(
    recorder: Intake, member: Membership | None, port: int, chosen: str | os.PathLike[str] | None
) -> Membership | None:
    """Join the service of a port, from a service that the recorder may be a member of. None if that is not possible."""
    try:
        from anthropic_exporter.host.membership import Membership  # noqa: PLC0415 - maps files: only where wanted

        path = runtime_dir.port_folder(port, chosen)
    except (ImportError, OSError, AttributeError) as error:
        _log_alone(error)
        return None
    if member is None:
        return Membership(recorder, path)
    member.move(path)
    return member


def join_family(recorder: Intake, ordinal: int) -> Membership | None:
    """Join the processes that this one is a copy of, or will be copied to. None if that is not possible.

    If the first of them serves a port, that is their service.
    """
    try:
        from anthropic_exporter.host.membership import Membership  # noqa: PLC0415 - maps files: only where wanted

        root = process_name(family_root())
        path = _port_of(root) or runtime_dir.family_folder(root, ordinal)
        _remove_ended_families()
        return Membership(recorder, path)
    except (ImportError, OSError, AttributeError) as error:
        _log_alone(error)
        return None


def _port_of(process: str) -> Path | None:
    """The folder of the port that a process holds."""
    from anthropic_exporter.host.cell_folder import CellFolder  # noqa: PLC0415 - maps files: only where wanted

    if process == process_name(os.getpid()):
        return None
    return next((path for path in runtime_dir.port_folders() if CellFolder.at(path).holder() == process), None)


def _remove_ended_families() -> None:
    """Remove the folders of families without processes, which are never read again."""
    from anthropic_exporter.host.cell_folder import CellFolder  # noqa: PLC0415 - maps files: only where wanted

    for path in runtime_dir.families():
        root = path.name.removeprefix("family-").rpartition("-")[0]
        if process_name(int(root.partition("-")[0])) != root:
            with contextlib.suppress(OSError):
                CellFolder.at(path).remove_if_ended()


def _log_alone(error: Exception) -> None:
    """Log once that this process counts alone, and why."""
    why = str(error) or type(error).__name__
    if why not in _logged and not isinstance(error, (ImportError, AttributeError)):
        _logged.add(why)
        _log.warning(
            "this process counts alone, without the other workers of this service: %s; "
            "choose a writable folder with %s",
            why,
            runtime_dir.ENVIRONMENT,
        )
