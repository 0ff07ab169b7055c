"""The common form of both sides in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anthropic_exporter.call import TOKEN_TYPES

HOUR = 3_600
USD = "USD"
WEB_SEARCH = "web_search"
#: Types that can be compared. The bill also has `code_execution` and `session_usage`, which no response reports.
COMPARED_TYPES = (*TOKEN_TYPES, WEB_SEARCH)


class LineKey(NamedTuple):
    """The keys that prices and quantities depend on."""

    model: str
    tier: str
    type: str


class Amount(NamedTuple):
    """Tokens (0 if not billed by the token) and dollars at list price."""

    tokens: float = 0.0
    usd: float = 0.0

    def plus(self, other: Amount) -> Amount:
        """The sum of both."""
        return Amount(self.tokens + other.tokens, self.usd + other.usd)


class Caller(NamedTuple):
    """The sender of billed requests, as far as the bill says: ids as the Console shows them, never a key.

    `workspace_id` is empty where the bill does not say it, as the older endpoints do of the default workspace. With
    nothing but a workspace it stands for all callers in it.
    """

    api_key_id: str = ""
    product: str = ""
    workspace_id: str = ""

    def __str__(self) -> str:
        workspace = f"workspace {self.workspace_id}" if self.workspace_id else ""
        if workspace and not (self.api_key_id or self.product):
            return f"all callers in {workspace}"
        name = " ".join(filter(None, (self.api_key_id or "no API key", self.product)))
        return f"{name} ({workspace})" if workspace else name


class BilledLine(NamedTuple):
    """One line of the bill: an hour, a place, a caller. `paid_usd` is after discounts, before credits."""

    hour: int
    place: LineKey
    caller: Caller
    amount: Amount
    paid_usd: float | None = None


class BilledSpan(NamedTuple):
    """The lines of a span of time.

    `refreshed_at` is how far the bill's own data reach, in Unix seconds. `has_list_price` is False if only the older
    endpoints answered, which have tokens but no list price, or if the bill is in another `currency` than USD.
    """

    lines: tuple[BilledLine, ...]
    refreshed_at: float | None = None
    has_list_price: bool = True
    paid_usd: float | None = None
    currency: str = USD


Recorded = Mapping[tuple[int, LineKey], Amount]


def by_hour(lines: Iterable[BilledLine]) -> dict[tuple[int, LineKey], Amount]:
    """The lines of all callers together."""
    found: dict[tuple[int, LineKey], Amount] = {}
    for line in lines:
        key = (line.hour, line.place)
        found[key] = found.get(key, Amount()).plus(line.amount)
    return found
