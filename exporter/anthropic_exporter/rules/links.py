"""Which panel of the dashboard an alert's link opens."""

from __future__ import annotations

from collections.abc import Mapping

# The dashboard panel that shows an alert's subject; without one, the list of open alerts.
PANELS = {
    "AnthropicCostRateHigh": "Cost per minute by feature",
    "AnthropicCostSpike": "Cost per minute by feature",
    "AnthropicRequestUnusuallyExpensive": "Most expensive single request",
    "AnthropicTokenSpike": "Tokens per minute by type",
    "AnthropicCacheMissRateHigh": "Cache read share of prompt tokens",
    "AnthropicCacheMissWaste": "Dollars lost to misses per minute",
    "AnthropicCacheWriteChurn": "What caching earns and costs per hour",
    "AnthropicDailyTokenBudgetExceeded": "Share of each budget",
    "AnthropicDailyCostBudgetExceeded": "Share of each budget",
    "AnthropicDailyBudgetForecast": "Share of each budget",
    "AnthropicMonthlyBudgetForecast": "Share of each budget",
    "AnthropicLatencyHigh": "Request duration",
    "AnthropicTimeToFirstTokenHigh": "Time to first token",
    "AnthropicRequestStuck": "Oldest request in flight",
    "AnthropicErrorRateHigh": "Failed share by feature",
    "AnthropicRateLimited": "Requests per minute by outcome",
    "AnthropicOverloaded": "Requests per minute by outcome",
    "AnthropicRateLimitHeadroomLow": "Rate limit left",
    "AnthropicUnpricedTokens": "Tokens without a price",
    "AnthropicUnmeteredResponses": "Calls not recorded",
    "AnthropicRecordErrors": "Calls not recorded",
    "AnthropicLabelOverflow": "Labels folded",
    "AnthropicPricesStale": "Age of the price book",
    "AnthropicExporterDown": "Processes scraped",
    "AnthropicMeterStopped": "Last call recorded",
    "AnthropicTargetsGone": "Processes scraped",
    "AnthropicWorkersLost": "Processes scraped",
    "AnthropicRecorderDrops": "Calls not recorded",
    "AnthropicSessionCostMismatch": "Tokens without a price",
    "AnthropicCountedLate": "Requests per minute by outcome",
    "AnthropicPublishingFails": "Processes scraped",
}
# An alert with two conditions: the first panel while its query has a result, the other panel otherwise.
OTHERWISE = {
    "AnthropicRequestUnusuallyExpensive": (
        "feature_model:anthropic_request_cost_usd:threshold{feature=%q, model=%q} < %f",
        "Longest single answer",
    ),
}


def panel_of(alert: str, ids: Mapping[str, int]) -> str:
    """The panel in an alert's link: its id, or a template that chooses between two.

    Args:
        alert: name of the alert.
        ids: id of each panel of the dashboard, by title.
    """
    panel = str(ids[PANELS.get(alert, "Firing now")])
    if alert not in OTHERWISE:
        return panel
    query, other = OTHERWISE[alert]
    asked = f'query (printf "{query}" $labels.feature $labels.model $value)'
    return f"{{{{ with {asked} }}}}{panel}{{{{ else }}}}{ids[other]}{{{{ end }}}}"
