"""Counts tokens that were sent again, by how long ago: without a cache, read from it, and written to it.

The history of a conversation is exact, because the prompt of one turn is the beginning of the next. Times are those of
one process: where many share the traffic, a prefix seems to rest for longer than it does, and advice errs to the
careful side.
"""

from __future__ import annotations

from anthropic_exporter.call import Sight
from anthropic_exporter.recording.advice import sums as s
from anthropic_exporter.recording.advice.prefixes import Prefix
from anthropic_exporter.recording.advice.recent import Recent
from anthropic_exporter.recording.advice.sums import SHORT_SECONDS, WITHIN_5M, Sums, gap_of
from anthropic_exporter.wire.plain_answer import Counts

_MOST_PREFIXES, _MOST_CONVERSATIONS = 1_024, 4_096


#: The newest request of a conversation: when, number of messages, tokens of the prompt, tokens that the cache held
#: after it, and whether it was the first. A plain tuple: a named one, at each call, costs four times as much.
Turn = tuple[float, int, int, int, bool]


class Repeats:
    """Remembers when each prefix and conversation was last sent."""

    def __init__(self) -> None:
        self.prefixes: Recent[Prefix] = Recent(_MOST_PREFIXES)
        self.turns: Recent[Turn] = Recent(_MOST_CONVERSATIONS)

    def write(self, seen: Sight, now: float, tokens: Counts, minimum: int, sums: Sums, asked: bool) -> None:
        """Count one request that was sent `now`.

        Args:
            seen: what is remembered of it.
            now: in seconds since the epoch.
            tokens: of its only, or its first inference.
            minimum: how many tokens the model caches at least.
            sums: where to count it.
            asked: whether it asked for caching, or was cached.
        """
        key, talk, messages, _, share, _ = seen
        fresh, read, short, long, _ = tokens
        cached = read + short + long
        prompt = fresh + cached
        prefixes, turns = self.prefixes, self.turns
        prefix = prefixes.get(key) or prefixes.older(key) or Prefix()
        turn = turns.get(talk) or turns.older_or_room(talk)
        if turn is not None and (messages <= turn[1] or prompt <= turn[2]):
            turn = None
        if asked:
            _count_cached(tokens, prefix, turn, now, sums)
        elif turn is not None:
            _count_turn(seen, prompt, prefix, turn, (now, minimum), sums)
        elif prefix.at:
            known, gap = prefix.tokens, now - prefix.at
            if share is not None or known > prompt or known < minimum:
                known = _measured(seen, prompt, prefix, minimum, sums)
            sums[WITHIN_5M if gap <= SHORT_SECONDS else gap_of(gap)] += known  # UNCACHED is the first row
        prefix.at = now
        if turn is None:
            prefix.cached = cached
        turns[talk] = (now, messages, prompt, cached, turn is None)


def _measured(seen: Sight, prompt: int, prefix: Prefix, minimum: int, sums: Sums) -> float:
    """Tokens of the prefix of an uncached request; 0 if the model would not cache so few."""
    _, _, _, _, share, whole = seen
    is_first = whole is not None and prefix.measure(share, whole, prompt)
    known = prefix.tokens
    if known > prompt:
        known = float(prompt)
    if known < minimum:
        return 0.0
    if is_first:
        sums[s.UNCACHED + s.NEVER] += known  # the request before this one, when its length was not known
    return known


def _count_turn(seen: Sight, prompt: int, prefix: Prefix, turn: Turn, bounds: tuple[float, int], sums: Sums) -> None:
    """A later turn of an uncached conversation: all of the turn before is sent again."""
    now, minimum = bounds
    at, _, before, _, is_first = turn
    system = _measured(seen, prompt, prefix, minimum, sums)
    if before < minimum:
        sums[s.UNCACHED + gap_of(now - prefix.at)] += system
        return
    shared = min(system, before)
    sums[s.UNCACHED + gap_of(now - prefix.at)] += shared
    sums[s.UNCACHED + gap_of(now - at)] += before - shared
    # The cache would take what a turn adds; and the first turn, which is only known for one when the second comes.
    sums[s.UNCACHED + s.NEVER] += prompt - before + (before - shared if is_first else 0.0)


def _count_cached(tokens: Counts, prefix: Prefix, turn: Turn | None, now: float, sums: Sums) -> None:
    """Reads by gap; writes as new, but those that replace what the cache had before by the gap that lost it."""
    _, read, short, long, _ = tokens
    at, held = (prefix.at, prefix.cached) if turn is None else (turn[0], turn[3])
    gap = gap_of(now - at) if at else s.NEVER
    sums[s.READ + gap] += read
    written = short + long
    if not written:
        return
    # A prefix that was read is alive: what was written beside it is new.
    is_alive = turn is None and read > 0
    again = 0 if is_alive or not at else max(0, min(written, held - read))
    for kind, part in ((s.WRITTEN_5M, short), (s.WRITTEN_1H, long)):
        sums[kind + gap] += again * part / written
        sums[kind + s.NEVER] += part - again * part / written
