"""Which hosts publish, and which stopped without shutting down cleanly. Pure.

A host is a machine: two machines with one name are two hosts, and the loss of one is a loss. A machine that was
restarted has a new identity: it takes the place of one of its name that was silent by then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from anthropic_exporter.collector.gauges import LIVE_SECONDS
from anthropic_exporter.collector.members import Member

#: A host that disappeared is listed for this long.
GONE_SECONDS = 3_600.0


class Host(NamedTuple):
    """One machine, and when its publishers sent messages.

    Attributes:
        name: service and host.
        machine: distinguishes it from others of its name; empty if an older publisher did not say.
        age: seconds since its newest message; infinite if it shut down cleanly.
        first_sent_at, last_sent_at: of its oldest and newest message that are known, by its own clock.
    """

    name: tuple[str, str]
    machine: str
    age: float
    first_sent_at: float
    last_sent_at: float

    @property
    def is_lost(self) -> bool:
        """Whether nothing came from it lately although it did not shut down."""
        return LIVE_SECONDS < self.age <= GONE_SECONDS


def find_hosts(members: Iterable[Member], now: float) -> list[Host]:
    """The hosts that are live or lost, by name.

    A host whose killed publisher was replaced is live. One silent for an hour is no longer listed.
    """
    publishers: dict[tuple[str, str, str], list[Member]] = {}
    for member in members:
        publishers.setdefault((member.service, member.host, member.machine), []).append(member)
    by_name: dict[tuple[str, str], list[Host]] = {}
    for (service, host, machine), of_machine in sorted(publishers.items(), key=lambda one: one[0]):
        newest = max(of_machine, key=lambda one: (one.heard_at, one.finished))
        age = math.inf if newest.finished else max(0.0, now - newest.heard_at)
        first, last = min(one.first_sent_at for one in of_machine), max(one.sent_at for one in of_machine)
        by_name.setdefault((service, host), []).append(Host((service, host), machine, age, first, last))
    return [one for machines in by_name.values() for one in _not_replaced(machines) if one.age <= GONE_SECONDS]


def ages(hosts: Iterable[Host]) -> dict[tuple[str, str], float]:
    """Seconds since the newest message by name; of several hosts of one name, of the one that is silent the longest."""
    found: dict[tuple[str, str], float] = {}
    for one in hosts:
        found[one.name] = max(found.get(one.name, 0.0), one.age)
    return found


def _not_replaced(machines: list[Host]) -> list[Host]:
    """All machines of one name, but those whose place one took that began after they were silent; each takes one."""
    silent = deque(sorted((one for one in machines if one.is_lost), key=lambda one: one.last_sent_at))
    left: list[Host] = []
    for successor in sorted(machines, key=lambda one: one.first_sent_at):
        while silent and silent[0].last_sent_at < successor.first_sent_at:
            left.append(silent.popleft())
        if left:
            left.pop()  # the one that was silent for the shortest time
    left += silent
    if any(one.age <= LIVE_SECONDS for one in machines):  # an older publisher may run on any machine of its name
        left = [one for one in left if one.machine]
    return [one for one in machines if not one.is_lost] + left
