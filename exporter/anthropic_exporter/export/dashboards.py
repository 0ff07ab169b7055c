"""The shipped dashboard for another scrape interval, and for days of another time zone."""

from __future__ import annotations

import re

from anthropic_exporter.rules import Fit

_MINUTE_SECONDS = 60
#: A rate needs two samples; one of four may be missing.
_SCRAPES_A_WINDOW = 4
_WINDOW = re.compile(r"\[1m\]")
_FAST = re.compile(r"\blast 30 s\b")
_ZONE = re.compile(r"\bUTC\b")


def fitted(dashboard: str, fit: Fit) -> str:
    """The dashboard with windows of at least four scrapes, which is a minute up to a scrape interval of 15 s."""
    seconds = max(_MINUTE_SECONDS, _SCRAPES_A_WINDOW * fit.scrape_interval)
    fitting = _WINDOW.sub(f"[{seconds}s]" if seconds != _MINUTE_SECONDS else "[1m]", dashboard)
    values = fit.placeholders()
    return _ZONE.sub(values["zone"], _FAST.sub(f"last {values['fast_seconds']} s", fitting))
