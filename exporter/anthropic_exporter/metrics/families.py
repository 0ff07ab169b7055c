"""Every metric family, declared once: name, kind, labels, help. Data only; the README's table is made from it."""

from __future__ import annotations

from typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Family(NamedTuple):
    """One metric family. `buckets` are the upper bounds of a histogram, without +Inf."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


_SPEND = ("model", "feature", "user", "tier", "type")
_WHERE = ("model", "feature")

REQUESTS = Family(
    "anthropic_requests_total",
    COUNTER,
    ("model", "feature", "user", "outcome"),
    "HTTP attempts by outcome; a retried call has several. Excludes batch results and free calls (count_tokens).",
)
RETRIES = Family(
    "anthropic_request_retries_total",
    COUNTER,
    ("model", "feature", "reason"),
    "Failed attempts that the SDK retried, by outcome. Excludes the last attempt, because it was not retried.",
)
TOKENS = Family(
    "anthropic_tokens_total",
    COUNTER,
    _SPEND,
    "Tokens as billed, a disjoint partition by type: input is the uncached part, output includes thinking.",
)
COST = Family(
    "anthropic_cost_usd_total",
    COUNTER,
    _SPEND,
    "US dollars at list price, by the same partition plus priced server tools. Excludes models without a price.",
)
ESTIMATED_TOKENS = Family(
    "anthropic_exporter_estimated_tokens_total",
    COUNTER,
    _WHERE,
    "Output tokens of unfinished streams, estimated from the text received. Not included in anthropic_tokens_total.",
)
ESTIMATED_COST = Family(
    "anthropic_exporter_estimated_cost_usd_total",
    COUNTER,
    ("model", "feature", "reason"),
    "US dollars by which the invoice may differ from anthropic_cost_usd_total: lower for fallback_credit and "
    "priority_tier, higher for fallback_hop and inference_profile.",
)
THINKING = Family(
    "anthropic_thinking_tokens_total",
    COUNTER,
    _WHERE,
    "Thinking tokens; already included in anthropic_tokens_total with type output.",
)
SERVER_TOOLS = Family(
    "anthropic_server_tool_requests_total",
    COUNTER,
    ("model", "feature", "tool"),
    "Server tool requests (web_search, web_fetch, ...), including free ones.",
)
CACHE_REQUESTS = Family(
    "anthropic_cache_requests_total",
    COUNTER,
    ("model", "feature", "result"),
    "Responses by prompt cache result: hit (read something), miss (wrote without reading), ineligible (requested, but "
    "did neither), unasked (not requested).",
)
CACHE_MISS_COST = Family(
    "anthropic_cache_miss_cost_usd_total",
    COUNTER,
    _WHERE,
    "US dollars that cache misses cost more than reading the same prompt from the cache would have.",
)
CACHE_SAVINGS = Family(
    "anthropic_cache_savings_usd_total",
    COUNTER,
    _WHERE,
    "US dollars that cache reads saved compared with uncached input.",
)
CACHE_WRITE_PREMIUM = Family(
    "anthropic_cache_write_premium_usd_total",
    COUNTER,
    _WHERE,
    "US dollars that cache writes cost more than uncached input.",
)
CACHE_MISS_REASONS = Family(
    "anthropic_cache_miss_reasons_total",
    COUNTER,
    ("model", "feature", "reason"),
    "Cache misses by diagnostics.cache_miss_reason, if the caller requested diagnostics.",
)
STOP_REASONS = Family(
    "anthropic_stop_reasons_total",
    COUNTER,
    ("model", "feature", "stop_reason"),
    "Responses by stop_reason.",
)
DURATION = Family(
    "anthropic_request_duration_seconds",
    HISTOGRAM,
    _WHERE,
    "Seconds from sending an attempt to the end of its body. Excludes pre-warming calls (max_tokens 0).",
    (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
CALL_DURATION = Family(
    "anthropic_call_duration_seconds",
    HISTOGRAM,
    _WHERE,
    "Seconds from the first attempt of a call to the end of its last, including waits between retries. "
    "A call whose last attempt failed is included once it has not been retried for 90 s.",
    (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
)
TTFT = Family(
    "anthropic_time_to_first_token_seconds",
    HISTOGRAM,
    _WHERE,
    "Seconds from sending an attempt to the first content delta of its stream.",
    (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60),
)
TOKENS_PER_SECOND = Family(
    "anthropic_output_tokens_per_second",
    HISTOGRAM,
    ("model",),
    "Output tokens per second between the first token and the end of a stream.",
    (5, 10, 20, 40, 60, 80, 100, 150, 200, 300),
)
REQUEST_OUTPUT_TOKENS = Family(
    "anthropic_request_output_tokens",
    HISTOGRAM,
    _WHERE,
    "Output tokens of one response.",
    (64, 256, 1000, 2000, 4000, 8000, 10000, 16000, 32000, 64000, 128000),
)
REQUEST_COST = Family(
    "anthropic_request_cost_usd",
    HISTOGRAM,
    _WHERE,
    "US dollars of one response at list price.",
    (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_OUTPUT_TOKENS_MAX = Family(
    "anthropic_request_output_tokens_max",
    GAUGE,
    _WHERE,
    "Output tokens of the largest response of the trailing 60 s.",
)
REQUEST_COST_MAX = Family(
    "anthropic_request_cost_usd_max",
    GAUGE,
    _WHERE,
    "US dollars of the most expensive response of the trailing 60 s.",
)
INFLIGHT = Family(
    "anthropic_inflight_requests",
    GAUGE,
    _WHERE,
    "Attempts that were sent and have not ended; a stream is in flight until its body ends.",
)
OLDEST_INFLIGHT = Family(
    "anthropic_oldest_inflight_request_age_seconds",
    GAUGE,
    _WHERE,
    "Seconds since the oldest attempt in flight was sent; 0 if there is none.",
)
LONGEST_SILENCE = Family(
    "anthropic_longest_inflight_silence_seconds",
    GAUGE,
    _WHERE,
    "Longest time in seconds without a byte received by an attempt in flight, to within a scrape; 0 if there is none.",
)
RATELIMIT_LIMIT = Family(
    "anthropic_ratelimit_limit",
    GAUGE,
    ("model", "resource"),
    "Limit in the newest rate-limit headers, by resource.",
)
RATELIMIT_REMAINING = Family(
    "anthropic_ratelimit_remaining",
    GAUGE,
    ("model", "resource"),
    "Remaining part of the limit in the newest rate-limit headers; the API rounds tokens to thousands.",
)
RATELIMIT_RESET = Family(
    "anthropic_ratelimit_reset_timestamp_seconds",
    GAUGE,
    ("model", "resource"),
    "Unix time at which the limit is fully replenished, from the newest rate-limit headers.",
)
BUILD_INFO = Family(
    "anthropic_exporter_build_info",
    GAUGE,
    ("version", "sdk_version"),
    "Always 1; the versions of this library and of the anthropic SDK.",
)
RECORD_ERRORS = Family(
    "anthropic_exporter_record_errors_total",
    COUNTER,
    ("stage",),
    "Failures of this library by stage. They never reach the application; affected calls may not be counted.",
)
STALE_SCRAPES = Family(
    "anthropic_exporter_stale_scrapes_total",
    COUNTER,
    (),
    "Scrapes answered with the previous page, because the current numbers could not be read within a second.",
)
SINK_DROPPED = Family(
    "anthropic_exporter_sink_dropped_calls_total",
    COUNTER,
    (),
    "Calls that subscribers never received, because they were too slow and too many calls were waiting for them.",
)
UNMETERED_RESPONSES = Family(
    "anthropic_exporter_unmetered_responses_total",
    COUNTER,
    ("model", "reason"),
    "Successful responses without usable usage, whose tokens are not counted: no_usage, unknown_shape, unreadable.",
)
SESSION_COST_MISMATCHES = Family(
    "anthropic_exporter_session_cost_mismatches_total",
    COUNTER,
    ("model",),
    "Managed-agent sessions whose recorded cost differs from the API's own list_cost by more than a cent and 1 %.",
)
UNPRICED_TOKENS = Family(
    "anthropic_exporter_unpriced_tokens_total",
    COUNTER,
    ("model",),
    "Tokens of models without a price: included in anthropic_tokens_total, but not in anthropic_cost_usd_total.",
)
PRICE_SOURCE = Family(
    "anthropic_exporter_price_source_info",
    GAUGE,
    ("model", "source"),
    "Always 1; the source of the prices of each model in use: shipped, file, genai-prices, or none.",
)
GUARD_BLOCKED = Family(
    "anthropic_guard_blocked_total",
    COUNTER,
    ("feature", "reason", "mode"),
    "Attempts that an open breaker stopped or degraded; with mode observe, those that it would have stopped.",
)
GUARD_CALLBACKS = Family(
    "anthropic_guard_callbacks_total",
    COUNTER,
    ("callback", "result"),
    "Attempts to send an alert to a callback of the Guard, by result: ok, failed, timeout, dropped (given up).",
)
REMEDY_ACTIONS = Family(
    "anthropic_remedy_actions_total",
    COUNTER,
    ("remedy", "outcome"),
    "Actions of remedies: applied, undone, skipped (nothing to do), dry_run, failed, timeout, refused, dropped.",
)
GUARD_FLEET_FOLLOWED = Family(
    "anthropic_guard_fleet_followed",
    GAUGE,
    (),
    "1 while a collector publishes, 0 after 60 s of silence, when its breakers are ignored. Absent without follow().",
)
GUARD_FAILED_OPEN = Family(
    "anthropic_guard_failed_open_total",
    COUNTER,
    (),
    "Times that nothing was received from a collector for 60 s, after which the fleet's breakers are ignored.",
)
PUBLISH_MESSAGES = Family(
    "anthropic_publish_messages_total",
    COUNTER,
    ("result",),
    "Attempts to send changed cells to a queue, by result: sent, or the reason for the failure: "
    "unreachable, timeout, refused, full, failed. The next message that is sent makes up for a failure.",
)
PUBLISH_LAST_SUCCESS = Family(
    "anthropic_publish_last_success_timestamp_seconds",
    GAUGE,
    (),
    "Unix time at which the queue last accepted a message from this process; absent without publish().",
)
LABEL_OVERFLOW = Family(
    "anthropic_exporter_label_overflow_total",
    COUNTER,
    ("label",),
    "Records with a label value that was folded into other; totals stay exact.",
)
LIMITS_REACHED = Family(
    "anthropic_exporter_limits_reached_total",
    COUNTER,
    ("limit",),
    "Times that the library reached one of its resource limits, by limit; docs/limits.md lists them.",
)
LEDGER = Family(
    "anthropic_ledger_total",
    COUNTER,
    ("life", "of", "feature", "model", "tier"),
    "Counters for the rules: the counters above, summed over user, type and outcome; of says what is counted.",
)
STARTED = Family(
    "anthropic_exporter_start_timestamp_seconds",
    GAUGE,
    ("life",),
    "Unix time at which the counters started at 0; life is random, and changes whenever they start again.",
)
AGE = Family(
    "anthropic_exporter_age_seconds",
    GAUGE,
    ("life",),
    "Seconds since the counters started at 0, by the clock of the process.",
)
LAST_RECORD = Family(
    "anthropic_exporter_last_record_timestamp_seconds",
    GAUGE,
    (),
    "Unix time of the newest recorded call; 0 before the first.",
)
PRICES_CHECKED = Family(
    "anthropic_exporter_prices_checked_timestamp_seconds",
    GAUGE,
    (),
    "Unix time at which the oldest price row was last compared with its source.",
)
NOTIFICATIONS = Family(
    "anthropic_exporter_notifications_total",
    COUNTER,
    ("severity", "status", "alertname"),
    "Alerts that Alertmanager sent to the standalone exporter, firing and resolved; repeats count again.",
)
_DELAYS = (5, 10, 15, 20, 25, 30, 45, 60, 75, 100, 140, 300, 600, 1800, 3600)
DETECTION = Family(
    "anthropic_exporter_detection_seconds",
    HISTOGRAM,
    ("alertname",),
    "Seconds from the onset of an incident to the first delivery of its alert to the standalone exporter, if the "
    "rules know the onset.",
    _DELAYS,
)
DELIVERY = Family(
    "anthropic_exporter_delivery_seconds",
    HISTOGRAM,
    ("severity",),
    "Seconds from the firing of an alert to its first delivery to the standalone exporter.",
    _DELAYS,
)
LAST_HEARTBEAT = Family(
    "anthropic_exporter_last_heartbeat_timestamp_seconds",
    GAUGE,
    (),
    "Unix time at which the AnthropicWatchdog alert last reached the standalone exporter; absent before the first.",
)

ADVICE_PROMPT_TOKENS = Family(
    "anthropic_advice_prompt_tokens_total",
    COUNTER,
    ("model", "feature", "kind", "gap"),
    "With Recorder(advise=True): prompt tokens by kind (uncached, cache_read, cache_write_5m, cache_write_1h) and by "
    "time since the same prefix was last sent (5m, 1h, more); new if it was not sent before.",
)
ADVICE_COST = Family(
    "anthropic_advice_cost_usd_total",
    COUNTER,
    ("model", "feature", "waste"),
    "With Recorder(advise=True): US dollars that a change may save (unstreamed, long_prompt, region, cut_off, "
    "overlong). Already included in anthropic_cost_usd_total.",
)
RECONCILE_TOKENS = Family(
    "anthropic_reconcile_tokens",
    GAUGE,
    ("model", "tier", "type", "side"),
    "Tokens in the hours of the last comparison by `reconcile --watch`; side is recorded or billed.",
)
RECONCILE_COST = Family(
    "anthropic_reconcile_cost_usd",
    GAUGE,
    ("model", "tier", "type", "side"),
    "US dollars at list price in the hours of the last comparison by `reconcile --watch`; side is recorded or billed.",
)
RECONCILE_DRIFT = Family(
    "anthropic_reconcile_drift_usd",
    GAUGE,
    ("model", "tier", "cause"),
    "Unexpected difference in US dollars between recorded and billed, by cause; 0 if the difference is expected.",
)
RECONCILE_TIMESTAMP = Family(
    "anthropic_reconcile_last_success_timestamp_seconds",
    GAUGE,
    (),
    "Unix time of the last comparison with the bill; before the first, the start time of `reconcile --watch`.",
)
WORKERS = Family(
    "anthropic_exporter_workers",
    GAUGE,
    ("state",),
    "Processes counted on this page: alive now, exited cleanly or lost (killed, crashed) since the first start.",
)
MERGE_SECONDS = Family(
    "anthropic_exporter_merge_seconds",
    GAUGE,
    (),
    "Seconds that merging the counts of all processes took at this scrape; absent if there is only one process.",
)
MERGE_FOLDED = Family(
    "anthropic_exporter_merge_folded_series",
    GAUGE,
    ("label",),
    "Series whose value of this label is shown as other, because all processes together have more values than one "
    "page may show; absent if there is only one process.",
)

FAMILIES: tuple[Family, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Family))
