"""The answers of the bill's endpoints. Rows of the Analytics API are built with the SDK's own types.

Sources: docstrings and types of `beta.organization.analytics` in anthropic 2.14.0; Usage and Cost Admin API page of
platform.claude.com; both read 2026-11-30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from anthropic.types.beta.organization.analytics.beta_analytics_cost_item import BetaAnalyticsCostItem
from anthropic.types.beta.organization.analytics.beta_analytics_usage_item import BetaAnalyticsUsageItem

from anthropic_exporter.simulator.fake_bill.books import Books, Priced, Use, add_tokens, iso, seconds

Query = Mapping[str, list[str]]

_HOUR, _DAY = 3_600, 86_400
_WIDTHS = {"1m": 60, "1h": _HOUR, "1d": _DAY}
_MOST_SECONDS = 31 * _DAY
_MOST_DIMENSIONS, _MOST_ROWS = 5, 1_000
_FREE_DIMENSIONS = ("cost_type", "token_type")
#: Buckets a page of the older usage report: usual and most.
_PAGES = {"1m": (60, 1_440), "1h": (24, 168), "1d": (7, 31)}
_FILTERS: dict[str, Callable[[Use], str | None]] = {
    "models": lambda use: use.model,
    "api_key_ids": lambda use: use.api_key_id or "",
    "workspace_ids": lambda use: use.workspace_id,
    "service_tiers": lambda use: use.service_tier,
    "speeds": lambda use: use.speed,
    "products": lambda use: use.product,
    "inference_geos": lambda use: use.inference_geo,
}


class BadRequestError(Exception):
    """What the API answers with 400, in its words."""


def analytics(books: Books, kind: str, query: Query, now: float) -> dict[str, Any]:
    """`GET /v1/organizations/analytics/{usage,cost}`."""
    width = _one(query, "time_bucket_width")
    start, end = _span(query, width, now)
    dimensions = [name for name in query.get("group_by", []) if name not in _FREE_DIMENSIONS]
    split = [name for name in query.get("group_by", []) if name in _FREE_DIMENSIONS]
    _check(kind, dimensions, split)
    step = _WIDTHS.get(width or "")
    cells: dict[tuple[float, float, tuple[Any, ...]], list[Priced]] = {}
    for one in books.between(start, end, lambda use: _is_wanted(use, query)):
        bounds = (one.use.at // step * step, one.use.at // step * step + step) if step else (start, end)
        cells.setdefault((*bounds, tuple(getattr(one.use, name) for name in dimensions)), []).append(one)
    make = _usage_rows if kind == "usage" else _cost_rows
    rows = [
        make(
            books,
            {"starting_at": iso(first), "ending_at": iso(last)},
            dict(zip(dimensions, key, strict=True)),
            split,
            uses,
        )
        for (first, last, key), uses in cells.items()
    ]
    return _page([row for row in rows if row], query, books, now)


def _check(kind: str, dimensions: list[str], split: list[str]) -> None:
    if len(dimensions) > _MOST_DIMENSIONS:
        raise BadRequestError("group_by: at most 5 dimensions")
    if kind == "usage" and split:
        raise BadRequestError("group_by: cost_type and token_type are for cost only")


def _span(query: Query, width: str | None, now: float) -> tuple[float, float]:
    if "starting_at" not in query:
        raise BadRequestError("starting_at: field required")
    ending_at = _one(query, "ending_at")
    if width and not ending_at:
        raise BadRequestError("ending_at is required when time_bucket_width is set")
    start = seconds(query["starting_at"][-1])
    end = seconds(ending_at) if ending_at else min(now, start + _MOST_SECONDS)
    if end - start > (_DAY if width == "1m" else _MOST_SECONDS):
        raise BadRequestError("the range is too long")
    return (start, end) if width else (start // _HOUR * _HOUR, end // _HOUR * _HOUR)


def _is_wanted(use: Use, query: Query) -> bool:
    return all(read(use) in query[name] for name, read in _FILTERS.items() if query.get(name))


def _usage_rows(
    _books: Books, base: dict[str, Any], group: dict[str, Any], _split: list[str], uses: list[Priced]
) -> list[dict[str, Any]]:
    tokens = add_tokens(uses)
    usage = {
        "uncached_input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "server_tool_use": {"web_search_requests": sum(one.use.web_searches for one in uses)},
        "total_tokens": sum(tokens),
        "requests": len(uses),
    }
    return [BetaAnalyticsUsageItem.model_validate({**base, "group": group, "usage": usage}).to_dict(mode="json")]


def _cost_rows(
    books: Books, base: dict[str, Any], group: dict[str, Any], split: list[str], uses: list[Priced]
) -> list[dict[str, Any]]:
    parts: dict[tuple[str | None, str | None], Decimal] = {}
    for one in uses:
        for (cost_type, token_type), cents in one.cents.items():
            key = (cost_type if "cost_type" in split else None, token_type if "token_type" in split else None)
            parts[key] = parts.get(key, Decimal(0)) + cents
    return [
        _cost_row(
            base, {**group, "cost_type": kind, "token_type": token}, cents, books.discount, None if split else len(uses)
        )
        for (kind, token), cents in sorted(parts.items(), key=lambda part: -part[1])
    ]


def _cost_row(
    base: dict[str, Any], group: dict[str, Any], cents: Decimal, discount: Decimal, requests: int | None
) -> dict[str, Any]:
    amounts = {"amount": _text(cents * discount), "list_amount": _text(cents)}
    cost = {**amounts, "currency": "USD", "requests": requests}
    return BetaAnalyticsCostItem.model_validate({**base, "group": group, "cost": cost}).to_dict(mode="json")


def _text(cents: Decimal) -> str:
    return format(cents.normalize(), "f")


def _page(rows: list[list[dict[str, Any]]], query: Query, books: Books, now: float) -> dict[str, Any]:
    """Rows that differ in cost type or token type alone count once towards the limit."""
    by_time = _one(query, "order_by") == "time"
    rows.sort(key=_time if by_time else _size, reverse=_one(query, "order") != "asc")
    limit, first = int(_one(query, "limit") or 20), int(_one(query, "page") or 0)
    if not 1 <= limit <= _MOST_ROWS:
        raise BadRequestError("limit: between 1 and 1000")
    more = first + limit < len(rows)
    return {
        "data": [row for group in rows[first : first + limit] for row in group],
        "has_more": more,
        "next_page": str(first + limit) if more else None,
        "data_refreshed_at": iso(books.refreshed_at or now),
    }


def _time(rows: list[dict[str, Any]]) -> str:
    return str(rows[0]["starting_at"])


def _size(rows: list[dict[str, Any]]) -> float:
    return sum(float(row["cost"]["amount"]) if "cost" in row else row["usage"]["total_tokens"] for row in rows)


def usage_report(books: Books, query: Query, now: float) -> dict[str, Any]:
    """`GET /v1/organizations/usage_report/messages`, the older endpoint."""
    width = _one(query, "bucket_width") or "1d"
    usual, most = _PAGES[width]
    return _buckets(books, query, _WIDTHS[width], min(int(_one(query, "limit") or usual), most), now, _reported_usage)


def cost_report(books: Books, query: Query, now: float) -> dict[str, Any]:
    """`GET /v1/organizations/cost_report`, the older endpoint: whole days, dollars after discount."""
    if (_one(query, "bucket_width") or "1d") != "1d":
        raise BadRequestError("bucket_width: 1d is the only one")
    return _buckets(books, query, _DAY, min(int(_one(query, "limit") or 7), 31), now, _reported_cost)


Report = Callable[[Books, dict[str, Any], list[Priced]], dict[str, Any]]


def _buckets(books: Books, query: Query, width: int, limit: int, now: float, report: Report) -> dict[str, Any]:
    start = seconds(query["starting_at"][-1]) // width * width
    ending_at = _one(query, "ending_at")
    end = seconds(ending_at) if ending_at else now
    starts = [start + number * width for number in range(int(-(-(end - start) // width)))]
    first = int(_one(query, "page") or 0)
    more = first + limit < len(starts)
    return {
        "data": [_bucket(books, query, at, at + width, report) for at in starts[first : first + limit]],
        "has_more": more,
        "next_page": str(first + limit) if more else None,
    }


def _bucket(books: Books, query: Query, start: float, end: float, report: Report) -> dict[str, Any]:
    dimensions = query.get("group_by", [])
    cells: dict[tuple[Any, ...], list[Priced]] = {}
    for one in books.between(start, end, lambda use: _is_wanted(use, query)):
        cells.setdefault(tuple(getattr(one.use, name, None) for name in dimensions), []).append(one)
    results = [report(books, dict(zip(dimensions, key, strict=True)), uses) for key, uses in cells.items()]
    return {"starting_at": iso(start), "ending_at": iso(end), "results": results}


def _reported_usage(books: Books, group: dict[str, Any], uses: list[Priced]) -> dict[str, Any]:
    (row,) = _usage_rows(books, {"starting_at": iso(0), "ending_at": iso(0)}, {}, [], uses)
    names = ("model", "api_key_id", "workspace_id", "service_tier", "context_window", "inference_geo")
    usage = {name: value for name, value in row["usage"].items() if name not in ("total_tokens", "requests")}
    return {**usage, **{name: group.get(name) for name in names}}


def _reported_cost(books: Books, group: dict[str, Any], uses: list[Priced]) -> dict[str, Any]:
    cents = sum((part for one in uses for part in one.cents.values()), Decimal(0))
    names = ("workspace_id", "description", "cost_type", "context_window", "model", "service_tier", "token_type")
    amount = {"currency": "USD", "amount": _text(cents * books.discount)}
    return {**amount, **{name: group.get(name) for name in names}}


def _one(query: Query, name: str) -> str | None:
    return query[name][-1] if query.get(name) else None
