"""Reads what Anthropic billed: from the Usage and Cost Analytics API through the official SDK, or the older endpoints.

Sources: the SDK's types of `beta.organization.analytics` (anthropic 2.14.0, read 2026-11-30); the Usage and Cost
Admin API page of platform.claude.com, which calls the older endpoints legacy, read 2026-11-30.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import legacy
from anthropic_exporter.reconcile.lines import HOUR, Amount, Bill, BilledLine, Caller, Place
from anthropic_exporter.reconcile.recorded import canonical

if TYPE_CHECKING:
    from anthropic import Anthropic

MOST_DAYS = 31
_ROWS = 1_000
_PATIENCE_SECONDS = 60.0
_CENTS = 100.0
_DIMENSIONS = ["model", "service_tier", "speed", "api_key_id", "product"]
_TYPES = {
    "uncached_input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}
_OLDER = (400, 403, 404)
_UNREACHABLE = "{}: cannot be reached: check the network, or --base-url"


class Filters(NamedTuple):
    """Which part of the bill to read; empty is all of it."""

    workspace_ids: Sequence[str] = ()
    api_key_ids: Sequence[str] = ()
    products: Sequence[str] = ()

    def parameters(self) -> dict[str, list[str]]:
        """The filters that are set, by their names in the API."""
        return {name: list(values) for name, values in self._asdict().items() if values}


def client(key: str, base_url: str | None) -> Anthropic:
    """The SDK's client. It retries by itself, and no middleware of the process records it."""
    from anthropic import Anthropic  # noqa: PLC0415 - only who reads the bill loads it

    return Anthropic(api_key=key, base_url=base_url, timeout=_PATIENCE_SECONDS, middleware=[])


def read(
    api: Anthropic,
    start: int,
    end: int,
    book: PriceBook,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    advance: Callable[[float], None] = lambda _: None,
) -> Bill:
    """The bill of the hours from `start` to `end`, in Unix seconds.

    Raises:
        ConfigurationError: the key may not read it, or the API cannot be reached. The key is not part of the message.
    """
    from anthropic import APIConnectionError, APIStatusError  # noqa: PLC0415 - only who reads the bill loads it

    try:
        return _newest(api, start, end, book, filters, advance)
    except APIConnectionError as error:
        raise ConfigurationError(_UNREACHABLE.format(api.base_url)) from error
    except APIStatusError as error:
        if error.status_code not in _OLDER:
            raise ConfigurationError(_refused(error.status_code)) from error
        refusal = error.status_code
    except AttributeError:  # an SDK from before the Analytics API
        refusal = 0
    try:
        return legacy.read(api, start, end, lambda model: canonical(model, book), filters.parameters())
    except APIConnectionError as error:
        raise ConfigurationError(_UNREACHABLE.format(api.base_url)) from error
    except APIStatusError as error:
        raise ConfigurationError(_refused(refusal or error.status_code)) from error


def _refused(status: int) -> str:
    if status in (401, 403, 404):
        return (
            f"the bill is refused ({status}): the key needs the scope read:analytics, or has to be an Admin API key: "
            "give --key-file or set ANTHROPIC_ADMIN_KEY"
        )
    return f"the bill cannot be read: the API answers {status}"


def _newest(
    api: Anthropic, start: int, end: int, book: PriceBook, filters: Filters, advance: Callable[[float], None]
) -> Bill:
    analytics: Any = api.beta.organization.analytics
    lines: list[BilledLine] = []
    refreshed: float | None = None
    for first, last in _months(start, end):
        asked = {**_span(first, last), **filters.parameters(), "limit": _ROWS, "order_by": "time", "order": "asc"}
        page = analytics.usage.list(**asked, group_by=_DIMENSIONS)
        refreshed = page.data_refreshed_at.timestamp() if page.data_refreshed_at else refreshed
        lines += [line for row in page for line in _tokens(row, book)]
        rows = analytics.cost.list(**asked, group_by=[*_DIMENSIONS, "cost_type", "token_type"])
        lines += [_dollars(row, book) for row in rows]
        advance(last - first)
    return Bill(tuple(lines), refreshed, paid_usd=sum(line.paid_usd or 0.0 for line in lines))


def _months(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split a span into pieces that one request may cover."""
    most = MOST_DAYS * 24 * HOUR
    for first in range(start, end, most):
        yield first, min(end, first + most)


def _span(start: int, end: int) -> dict[str, Any]:
    utc = dt.timezone.utc
    return {
        "starting_at": dt.datetime.fromtimestamp(start, utc),
        "ending_at": dt.datetime.fromtimestamp(end, utc),
        "time_bucket_width": "1h",
    }


def _tokens(row: Any, book: PriceBook) -> Iterator[BilledLine]:
    usage = row.usage
    counts = {
        "input": usage.uncached_input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_input_tokens,
        "cache_write_5m": usage.cache_creation.ephemeral_5m_input_tokens,
        "cache_write_1h": usage.cache_creation.ephemeral_1h_input_tokens,
    }
    for kind, count in counts.items():
        if count:
            yield _line(row, kind, Amount(float(count), 0.0), None, book)


def _dollars(row: Any, book: PriceBook) -> BilledLine:
    kind = _TYPES.get(row.group.token_type or "", row.group.cost_type or "other")
    cost = row.cost
    return _line(row, kind, Amount(0.0, float(cost.list_amount) / _CENTS), float(cost.amount) / _CENTS, book)


def _line(row: Any, kind: str, amount: Amount, paid_usd: float | None, book: PriceBook) -> BilledLine:
    group = row.group
    place = Place(canonical(group.model or "", book), tier(group.service_tier, group.speed), kind)
    hour = int(row.starting_at.timestamp()) // HOUR * HOUR
    return BilledLine(hour, place, Caller(group.api_key_id or "", group.product or ""), amount, paid_usd)


def tier(service_tier: str | None, speed: str | None) -> str:
    """The recorder's tier for the bill's service tier and speed."""
    if speed == "fast":
        return "fast"
    return "priority" if service_tier == "priority_on_demand" else service_tier or "standard"
