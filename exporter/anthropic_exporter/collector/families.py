"""The collector's own metric families, besides those of its publishers. Data only; `docs/scale.md` lists them."""

from __future__ import annotations

from anthropic_exporter.metrics.families import COUNTER, GAUGE, Family

MESSAGES = Family(
    "anthropic_collector_messages_total",
    COUNTER,
    ("result",),
    "Messages read from the queue: merged, unreadable, newer_format (update the collector), refused (too many).",
)
GAPS = Family(
    "anthropic_collector_message_gaps_total",
    COUNTER,
    (),
    "Messages that the queue accepted and that never arrived. Later messages contain their cells; many gaps mean that "
    "the queue drops messages.",
)
IGNORED_CELLS = Family(
    "anthropic_collector_ignored_cells_total",
    COUNTER,
    ("reason",),
    "Cells not shown: unknown (a family or buckets of another version), undefined (until the next full message), "
    "invalid (a counter that is negative, infinite or not a number).",
)
OVERFLOW = Family(
    "anthropic_collector_label_overflow_total",
    COUNTER,
    ("label",),
    "Series of publishers whose label value was folded into other here; totals stay exact.",
)
REBASED = Family(
    "anthropic_collector_rebased_members_total",
    COUNTER,
    (),
    "Publishers that returned after they were forgotten. Their counts in between are in no total.",
)
ERRORS = Family(
    "anthropic_collector_errors_total",
    COUNTER,
    ("stage",),
    "Failures of the collector by stage: queue (not readable), merge (a message), state (not written), breakers (not "
    "published), thresholds (an edit that cannot be used), serve.",
)
HOSTS = Family(
    "anthropic_collector_hosts",
    GAUGE,
    ("state",),
    "Hosts by state: live published in the last 30 s; lost did not, and did not shut down cleanly. Two machines with "
    "one name are two.",
)
HOST_AGE = Family(
    "anthropic_collector_last_message_age_seconds",
    GAUGE,
    ("service", "host"),
    "Seconds since the newest message of a host that did not shut down cleanly; of several with one name, the longest.",
)
LAG = Family(
    "anthropic_collector_lag_seconds",
    GAUGE,
    (),
    "Longest time from sending to merging a message in the trailing 60 s, by the clocks of sender and collector.",
)
QUEUE_UP = Family(
    "anthropic_collector_queue_up",
    GAUGE,
    (),
    "1 if the last read from the queue succeeded, else 0.",
)
STATE_AGE = Family(
    "anthropic_collector_state_age_seconds",
    GAUGE,
    (),
    "Seconds since the state was last written to disk. Messages received since then are read again after a crash.",
)
MEMBERS = Family(
    "anthropic_collector_members",
    GAUGE,
    (),
    "Publishers whose cells are kept.",
)
HOLDING = Family(
    "anthropic_collector_conditions_holding",
    GAUGE,
    ("condition",),
    "Conditions of the fleet's Guard that hold now, as published to every process that follows.",
)

COLLECTOR_FAMILIES: tuple[Family, ...] = tuple(
    value for value in globals().copy().values() if isinstance(value, Family)
)
