"""Reads the bill from the older endpoints: tokens by hour, dollars by day after discount, no list price.

Source: Usage and Cost Admin API, platform.claude.com/docs, read 2026-11-30.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anthropic_exporter.reconcile.lines import HOUR, Amount, BilledLine, BilledSpan, Caller, LineKey

if TYPE_CHECKING:
    from anthropic import Anthropic

_USAGE, _COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
_HOURS_A_PAGE, _DAYS_A_PAGE = 168, 31
_MOST_PAGES = 2_000
_DAY = 24 * HOUR
_CENTS = 100.0
_COUNTS = {"input": "uncached_input_tokens", "output": "output_tokens", "cache_read": "cache_read_input_tokens"}
_WRITES = {"cache_write_5m": "ephemeral_5m_input_tokens", "cache_write_1h": "ephemeral_1h_input_tokens"}
#: The filters that these endpoints share with the Analytics API.
_FILTERS = ("workspace_ids", "api_key_ids")


def read(
    api: Anthropic, start: int, end: int, canonical: Callable[[str], str], filters: Mapping[str, Sequence[str]]
) -> BilledSpan:
    """Tokens of the hours from `start` to `end`. Dollars only where these are whole days, and for everything together.

    Raises:
        anthropic.APIStatusError, anthropic.APIConnectionError: as the SDK raises them.
        AttributeError, LookupError, TypeError, ValueError: an answer has another form.
    """
    asked = {name: list(values) for name, values in filters.items() if name in _FILTERS}
    grouped = {
        "group_by": ["model", "service_tier", "api_key_id", "workspace_id"],
        "bucket_width": "1h",
        "limit": _HOURS_A_PAGE,
    }
    lines = [
        line
        for bucket in _buckets(api, _USAGE, start, end, {**asked, **grouped})
        for result in bucket["results"]
        for line in _lines(bucket, result, canonical)
    ]
    return BilledSpan(tuple(lines), None, has_list_price=False, paid_usd=_paid(api, start, end, asked))


def _paid(api: Anthropic, start: int, end: int, asked: Mapping[str, Any]) -> float | None:
    if start % _DAY or end % _DAY or asked:
        return None
    buckets = _buckets(api, _COST, start, end, {"bucket_width": "1d", "limit": _DAYS_A_PAGE})
    return sum(float(result["amount"]) for bucket in buckets for result in bucket["results"]) / _CENTS


def _buckets(api: Anthropic, path: str, start: int, end: int, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    span = {"starting_at": _iso(start), "ending_at": _iso(end)}
    page: str | None = None
    seen: set[str | None] = set()
    while page not in seen and len(seen) < _MOST_PAGES:
        seen.add(page)
        parameters = {**span, **asked, **({"page": page} if page else {})}
        answer: Any = api.get(path, cast_to=object, options={"params": parameters})
        yield from answer["data"]
        page = answer.get("next_page")
        if not (answer.get("has_more") and page):
            return
    raise ValueError("the pages do not end")


def _lines(
    bucket: Mapping[str, Any], result: Mapping[str, Any], canonical: Callable[[str], str]
) -> Iterator[BilledLine]:
    hour = int(dt.datetime.fromisoformat(bucket["starting_at"].replace("Z", "+00:00")).timestamp()) // HOUR * HOUR
    writes = result.get("cache_creation") or {}
    caller = Caller(result.get("api_key_id") or "", workspace_id=result.get("workspace_id") or "")
    counts = {kind: result.get(name) for kind, name in _COUNTS.items()}
    counts |= {kind: writes.get(name) for kind, name in _WRITES.items()}
    for kind, count in counts.items():
        if count:
            place = LineKey(canonical(result.get("model") or ""), result.get("service_tier") or "standard", kind)
            yield BilledLine(hour, place, caller, Amount(float(count), 0.0))


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
