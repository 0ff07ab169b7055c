"""Reads what Anthropic billed: from the Usage and Cost Analytics API through the official SDK, or the older endpoints.

Sources: the SDK's types of `beta.organization.analytics` (anthropic 2.14.0, read 2026-11-30); the Usage and Cost
Admin API page of platform.claude.com, which calls the older endpoints legacy, read 2026-11-30.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import legacy
from anthropic_exporter.reconcile.lines import HOUR, USD, Amount, BilledLine, BilledSpan, Caller, LineKey
from anthropic_exporter.reconcile.recorded import canonical

if TYPE_CHECKING:
    from anthropic import Anthropic

MOST_DAYS = 31
_ROWS = 1_000
_PATIENCE_SECONDS = 60.0
_CENTS = 100.0
_DIMENSIONS = ["model", "service_tier", "speed", "api_key_id", "product"]
#: A request has at most five dimensions: the workspaces of callers are asked for apart.
_CALLERS = ["workspace_id", "api_key_id", "product"]
_TYPES = {
    "uncached_input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}
_OLDER = (400, 403, 404)
_UNREACHABLE = "{}: cannot be reached: check the network, or --base-url"
_MALFORMED = "{}: the answer is not a bill as the Usage and Cost API sends it: check --base-url"
_TOO_MANY, _FIRST_OF_SERVER = 429, 500
_MOST_PAGES = 2_000
_CURRENCY = re.compile("[A-Z]{3}")


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
) -> BilledSpan:
    """The bill of the hours from `start` to `end`, in Unix seconds.

    Raises:
        ConfigurationError: the key may not read it, the API cannot be reached, or answers something else than a bill.
            Neither the key nor the answer is part of the message.
    """
    from anthropic import APIConnectionError, APIError, APIStatusError  # noqa: PLC0415 - only who reads the bill loads it

    refusal, newest = 0, hasattr(getattr(api.beta, "organization", None), "analytics")  # older SDKs do not have it
    try:
        if newest:
            try:
                return _newest(api, start, end, book, filters, advance)
            except APIStatusError as error:
                if error.status_code not in _OLDER:
                    raise
                refusal = error.status_code
        return legacy.read(api, start, end, lambda model: canonical(model, book), filters.parameters())
    except APIConnectionError as error:
        raise ConfigurationError(_UNREACHABLE.format(api.base_url)) from error
    except APIStatusError as error:
        raise ConfigurationError(_refused(refusal or error.status_code)) from error
    except (APIError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(_MALFORMED.format(api.base_url)) from error


def _refused(status: int) -> str:
    if status in (401, 403, 404):
        return (
            f"the bill is refused ({status}): the key needs the scope read:analytics, or has to be an Admin API key: "
            "give --key-file or set ANTHROPIC_ADMIN_KEY"
        )
    later = ": try again in some minutes" if status == _TOO_MANY or status >= _FIRST_OF_SERVER else ""
    return f"the bill cannot be read: the API answers {status}{later}"


def _newest(
    api: Anthropic, start: int, end: int, book: PriceBook, filters: Filters, advance: Callable[[float], None]
) -> BilledSpan:
    analytics: Any = api.beta.organization.analytics
    lines: list[BilledLine] = []
    paid, currencies = 0.0, {USD}
    refreshed: float | None = None
    for first, last in _months(start, end):
        whole = {"starting_at": _utc(first), "ending_at": _utc(last), **filters.parameters(), "limit": _ROWS}
        asked = {**whole, "time_bucket_width": "1h", "order_by": "time", "order": "asc"}
        workspaces = _workspaces(analytics.usage.list(**whole, group_by=_CALLERS))
        page = analytics.usage.list(**asked, group_by=_DIMENSIONS)
        refreshed = page.data_refreshed_at.timestamp() if page.data_refreshed_at else refreshed
        lines += [line for row in _rows(page) for line in _tokens(row, book, workspaces)]
        for row in _rows(analytics.cost.list(**asked, group_by=[*_DIMENSIONS, "cost_type", "token_type"])):
            currencies.add(_currency(row.cost.currency))
            lines.append(_dollars(row, book, workspaces))
            paid += lines[-1].paid_usd or 0.0
        advance(last - first)
    foreign = sorted(currencies - {USD})
    if not foreign:
        return BilledSpan(tuple(lines), refreshed, paid_usd=paid)
    tokens = tuple(line for line in lines if line.amount.tokens)
    return BilledSpan(tokens, refreshed, has_list_price=False, currency=foreign[0])


def _rows(first: Any) -> Iterator[Any]:
    """The rows of all pages.

    Raises:
        ValueError: a page comes again, or there are more than any bill has.
    """
    seen: set[str | None] = set()
    for page in first.iter_pages():
        yield from page.data or ()
        if page.next_page in seen or len(seen) >= _MOST_PAGES:
            raise ValueError("the pages do not end")
        seen.add(page.next_page)


def _currency(said: object) -> str:
    """A currency's code. Amounts of other currencies cannot be compared with prices in USD.

    Raises:
        ValueError: it is not a code.
    """
    if said in (None, ""):
        return USD
    if not isinstance(said, str) or not _CURRENCY.fullmatch(said):
        raise ValueError("currency")
    return said


def _months(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split a span into pieces that one request may cover."""
    most = MOST_DAYS * 24 * HOUR
    for first in range(start, end, most):
        yield first, min(end, first + most)


def _utc(at: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc)


def _workspaces(first: Any) -> dict[Caller, str]:
    """The workspace of each caller who is in one alone."""
    found: dict[Caller, set[str]] = {}
    for row in _rows(first):
        found.setdefault(_caller(row), set()).add(row.group.workspace_id or "")
    return {caller: next(iter(ids)) for caller, ids in found.items() if len(ids) == 1}


def _caller(row: Any) -> Caller:
    return Caller(row.group.api_key_id or "", row.group.product or "")


def _tokens(row: Any, book: PriceBook, workspaces: Mapping[Caller, str]) -> Iterator[BilledLine]:
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
            yield _line(row, kind, Amount(_number(count), 0.0), book, workspaces)


def _dollars(row: Any, book: PriceBook, workspaces: Mapping[Caller, str]) -> BilledLine:
    kind = _TYPES.get(row.group.token_type or "", row.group.cost_type or "other")
    cost = row.cost
    line = _line(row, kind, Amount(0.0, _number(cost.list_amount) / _CENTS), book, workspaces)
    return line._replace(paid_usd=_number(cost.amount) / _CENTS)


def _number(said: Any) -> float:
    number = float(said)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _line(row: Any, kind: str, amount: Amount, book: PriceBook, workspaces: Mapping[Caller, str]) -> BilledLine:
    group = row.group
    place = LineKey(canonical(group.model or "", book), tier(group.service_tier, group.speed), kind)
    hour = int(row.starting_at.timestamp()) // HOUR * HOUR
    caller = _caller(row)
    return BilledLine(hour, place, caller._replace(workspace_id=workspaces.get(caller, "")), amount)


def tier(service_tier: str | None, speed: str | None) -> str:
    """The recorder's tier for the bill's service tier and speed."""
    if speed == "fast":
        return "fast"
    return "priority" if service_tier == "priority_on_demand" else service_tier or "standard"
