"""Writes what `record_usage` was given, many at a time; the caller's thread only reads the counts."""

from __future__ import annotations

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.metrics.writer import Metrics
from anthropic_exporter.recording.answers import Writing, says_no_more
from anthropic_exporter.recording.calls import call_of
from anthropic_exporter.recording.lines import Kind
from anthropic_exporter.wire.plain_answer import Counts, Plain, usage_of
from anthropic_exporter.wire.usage import read_usage


def key_of(plain: Plain, where: Attribution) -> Kind:
    """Names the line of usages like this one."""
    return (plain[0], where.feature, where.user)


class Usages:
    """Writes plain usage objects.

    Args:
        intake: where calls are written. `write` is called with its lock held.
        metrics: where lines are written.
    """

    def __init__(self, intake: Writing, metrics: Metrics) -> None:
        self._intake, self._metrics = intake, metrics

    def write(
        self, key: Kind, counts: Counts, where: Attribution, at: float, now: float, seconds: float | None
    ) -> None:
        """Write one usage.

        Args:
            key: its `key_of`.
            counts: its tokens.
            where: who it is for.
            at: when it was asked for, in seconds since the epoch.
            now: when it was given to us, likewise.
            seconds: how long the call took; None if unknown.
        """
        intake = self._intake
        line = None if intake.has_sinks else intake.lines.get(key)
        if line is not None and intake.may_use(line, at):
            touched_cache = counts[1] or counts[2] or counts[3]
            self._metrics.write_plain(line, counts, now, seconds, None, asked=bool(touched_cache))
            return
        plain = key[0], counts
        call = call_of(read_usage(usage_of(plain), key[0][0]), where, at, duration_seconds=seconds)
        slot = intake.write_now(call, now)
        if slot is not None and says_no_more(call, plain, None, asked=False):
            line = intake.line_of(call, slot)
            if line is not None:
                intake.lines.add(key, line)
