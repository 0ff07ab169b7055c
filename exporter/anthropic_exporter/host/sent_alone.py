"""Recorders whose cells were sent to a queue before they counted together with other processes."""

from __future__ import annotations

import weakref

from anthropic_exporter.metrics.ledger import Life
from anthropic_exporter.recording.intake import Intake

_lives: weakref.WeakKeyDictionary[Intake, Life] = weakref.WeakKeyDictionary()


def note(recorder: Intake, life: Life) -> None:
    """Note that the cells of a recorder are sent under a life of their own; called before they are."""
    _lives[recorder] = life


def life_of(recorder: Intake) -> Life | None:
    """The life under which the cells of a recorder were sent on their own."""
    return _lives.get(recorder)


def forget(recorder: Intake) -> None:
    """In a forked child: its cells are new."""
    _lives.pop(recorder, None)
