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
    "HTTP attempts by outcome; a retried call is several. Batch results and free calls (count_tokens) are not in it.",
)
RETRIES = Family(
    "anthropic_request_retries_total",
    COUNTER,
    ("model", "feature", "reason"),
    "Attempts that the SDK retried, by the outcome that made it retry. The last failing attempt is no retry.",
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
    "US dollars at list price, by the same partition plus priced server tools. Unknown models are not in it.",
)
ESTIMATED_TOKENS = Family(
    "anthropic_exporter_estimated_tokens_total",
    COUNTER,
    _WHERE,
    "Output tokens of unfinished streams, estimated from the text that passed. Never part of anthropic_tokens_total.",
)
ESTIMATED_COST = Family(
    "anthropic_exporter_estimated_cost_usd_total",
    COUNTER,
    ("model", "feature", "reason"),
    "US dollars that the invoice may differ by: below anthropic_cost_usd_total by as much for fallback_credit and "
    "priority_tier, above it for fallback_hop and inference_profile.",
)
THINKING = Family(
    "anthropic_thinking_tokens_total",
    COUNTER,
    _WHERE,
    "Thinking tokens; already part of anthropic_tokens_total with type output.",
)
SERVER_TOOLS = Family(
    "anthropic_server_tool_requests_total",
    COUNTER,
    ("model", "feature", "tool"),
    "Server tool requests (web_search, web_fetch, ...), free ones too.",
)
CACHE_REQUESTS = Family(
    "anthropic_cache_requests_total",
    COUNTER,
    ("model", "feature", "result"),
    "Responses by prompt cache result: hit read some, miss wrote without reading, ineligible asked and did neither, "
    "unasked.",
)
CACHE_MISS_COST = Family(
    "anthropic_cache_miss_cost_usd_total",
    COUNTER,
    _WHERE,
    "US dollars that misses paid above what reading the same prompt from the cache would have cost.",
)
CACHE_SAVINGS = Family(
    "anthropic_cache_savings_usd_total",
    COUNTER,
    _WHERE,
    "US dollars saved by cache reads against plain input.",
)
CACHE_WRITE_PREMIUM = Family(
    "anthropic_cache_write_premium_usd_total",
    COUNTER,
    _WHERE,
    "US dollars paid for cache writes above plain input.",
)
CACHE_MISS_REASONS = Family(
    "anthropic_cache_miss_reasons_total",
    COUNTER,
    ("model", "feature", "reason"),
    "Cache misses by diagnostics.cache_miss_reason, where the caller asked for diagnostics.",
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
    "Seconds from sending an attempt to the end of its body. Pre-warming calls (max_tokens 0) are not in it.",
    (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
CALL_DURATION = Family(
    "anthropic_call_duration_seconds",
    HISTOGRAM,
    _WHERE,
    "Seconds from the first attempt of a call to the end of its last, waits between retries included. "
    "One whose last attempt failed is in it once nobody has tried again for 90 s.",
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
    "Attempts sent and not yet ended; a stream is in flight until its body ends.",
)
OLDEST_INFLIGHT = Family(
    "anthropic_oldest_inflight_request_age_seconds",
    GAUGE,
    _WHERE,
    "Seconds since the oldest attempt in flight was sent; 0 where none is.",
)
LONGEST_SILENCE = Family(
    "anthropic_longest_inflight_silence_seconds",
    GAUGE,
    _WHERE,
    "Seconds since the last byte of the quietest attempt in flight, to within a scrape; 0 where none is.",
)
RATELIMIT_LIMIT = Family(
    "anthropic_ratelimit_limit",
    GAUGE,
    ("model", "resource"),
    "Limit of the newest rate-limit headers, by resource.",
)
RATELIMIT_REMAINING = Family(
    "anthropic_ratelimit_remaining",
    GAUGE,
    ("model", "resource"),
    "What is left of the limit, by the newest rate-limit headers; the API rounds tokens to thousands.",
)
RATELIMIT_RESET = Family(
    "anthropic_ratelimit_reset_timestamp_seconds",
    GAUGE,
    ("model", "resource"),
    "Unix time at which the resource is full again, by the newest rate-limit headers.",
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
    "Failures of this library by stage. They never reach the application; the affected calls may be missing here.",
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
    "Answers that succeeded without usable usage, so that their tokens are not counted: no_usage, unknown_shape, "
    "unreadable.",
)
SESSION_COST_MISMATCHES = Family(
    "anthropic_exporter_session_cost_mismatches_total",
    COUNTER,
    ("model",),
    "Sessions of managed agents whose dollars here differ from the API's own list_cost by more than a cent and 1 %.",
)
UNPRICED_TOKENS = Family(
    "anthropic_exporter_unpriced_tokens_total",
    COUNTER,
    ("model",),
    "Tokens of models that the price book does not know: counted in anthropic_tokens_total, absent from the dollars.",
)
PRICE_SOURCE = Family(
    "anthropic_exporter_price_source_info",
    GAUGE,
    ("model", "source"),
    "Always 1; where the prices of a model that was used come from: shipped, file, genai-prices, or none.",
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
    "Attempts to send an alert to a callback of the Guard, by result: ok, failed, timeout; dropped: given up.",
)
REMEDY_ACTIONS = Family(
    "anthropic_remedy_actions_total",
    COUNTER,
    ("remedy", "outcome"),
    "What remedies did: applied, undone, skipped (nothing to do), dry_run, failed, timeout, refused, dropped.",
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
    "Attempts to send changed cells to a queue: sent, or why the queue took nothing: "
    "unreachable, timeout, refused, full, failed. The next message that is sent makes up for it.",
)
PUBLISH_LAST_SUCCESS = Family(
    "anthropic_publish_last_success_timestamp_seconds",
    GAUGE,
    (),
    "Unix time at which the queue last took a message of this process; absent without publish().",
)
LABEL_OVERFLOW = Family(
    "anthropic_exporter_label_overflow_total",
    COUNTER,
    ("label",),
    "Label values folded into other, once per record; totals stay exact.",
)
LIMITS_REACHED = Family(
    "anthropic_exporter_limits_reached_total",
    COUNTER,
    ("limit",),
    "Times that a limit on what this library takes from its process was reached, by limit; docs/limits.md lists them.",
)
LEDGER = Family(
    "anthropic_ledger_total",
    COUNTER,
    ("life", "of", "feature", "model", "tier"),
    "What the rules read: the counters above summed over user, type and outcome, by what is counted (of).",
)
STARTED = Family(
    "anthropic_exporter_start_timestamp_seconds",
    GAUGE,
    ("life",),
    "Unix time at which the counters began at 0; life is random and new whenever they do.",
)
AGE = Family(
    "anthropic_exporter_age_seconds",
    GAUGE,
    ("life",),
    "Seconds since the counters began at 0, by the clock of the process.",
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
    "Seconds from the onset of an incident to the first delivery of its alert to the standalone exporter, where the "
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
    "With Recorder(advise=True): tokens of prompts that were sent before, by kind (uncached, cache_read, "
    "cache_write_5m, cache_write_1h) and by how long before (5m, 1h, more); new are those a cache has to take first.",
)
ADVICE_COST = Family(
    "anthropic_advice_cost_usd_total",
    COUNTER,
    ("model", "feature", "waste"),
    "With Recorder(advise=True): US dollars that a change may save (unstreamed, long_prompt, region, cut_off, "
    "overlong). Already part of anthropic_cost_usd_total.",
)
RECONCILE_TOKENS = Family(
    "anthropic_reconcile_tokens",
    GAUGE,
    ("model", "tier", "type", "side"),
    "Tokens of the hours that `reconcile --watch` compared last; side is recorded or billed.",
)
RECONCILE_COST = Family(
    "anthropic_reconcile_cost_usd",
    GAUGE,
    ("model", "tier", "type", "side"),
    "US dollars at list price of the hours that `reconcile --watch` compared last; side is recorded or billed.",
)
RECONCILE_DRIFT = Family(
    "anthropic_reconcile_drift_usd",
    GAUGE,
    ("model", "tier", "cause"),
    "US dollars between recorded and billed that are not expected, by cause; 0 where a difference is expected.",
)
RECONCILE_TIMESTAMP = Family(
    "anthropic_reconcile_last_success_timestamp_seconds",
    GAUGE,
    (),
    "Unix time of the newest comparison with the bill; before the first, that of the start of `reconcile --watch`.",
)
WORKERS = Family(
    "anthropic_exporter_workers",
    GAUGE,
    ("state",),
    "Processes that this /metrics counts: alive now, exited cleanly and lost (killed, crashed) since the first start.",
)
MERGE_SECONDS = Family(
    "anthropic_exporter_merge_seconds",
    GAUGE,
    (),
    "Seconds that merging the counts of all processes took at this scrape; absent where one process is alone.",
)
MERGE_FOLDED = Family(
    "anthropic_exporter_merge_folded_series",
    GAUGE,
    ("label",),
    "Series of processes whose value of this label counts as other on this /metrics: all processes together have more "
    "values than one page may show; absent where one process is alone.",
)

FAMILIES: tuple[Family, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Family))
