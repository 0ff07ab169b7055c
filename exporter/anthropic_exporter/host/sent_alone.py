"""Recorders that sent their cells to a queue before they shared a folder with other processes."""

from __future__ import annotations

import weakref

from anthropic_exporter.metrics.ledger import Life
from anthropic_exporter.recording.intake import Intake

_lives: weakref.WeakKeyDictionary[Intake, Life] = weakref.WeakKeyDictionary()


def note(recorder: Intake, life: Life) -> None:
    """Note that the cells of a recorder are sent under a life of their own; called before the first is sent."""
    _lives[recorder] = life


def life_of(recorder: Intake) -> Life | None:
    """The life under which the cells of a recorder were sent on their own."""
    return _lives.get(recorder)


def forget(recorder: Intake) -> None:
    """In a forked child: its cells are new."""
    _lives.pop(recorder, None)
