"""The values that cross the library: one HTTP attempt, its usage, its cost.

Named tuples rather than frozen dataclasses: a `Call` is built on the application's own thread, and a named tuple of
this size is built four times faster (`bench/speed/record.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: Outcomes of this library; every other outcome is one of `API_ERRORS` or `SPEND_CAPS`.
SUCCESS = "success"
ABANDONED = "abandoned"
TRUNCATED = "truncated"
CANCELLED = "cancelled"
TIMEOUT = "timeout"
CONNECTION_ERROR = "connection_error"
REFUSAL = "refusal"
BLOCKED = "blocked"
#: `error.type` as the API documents it: `ErrorType` of the SDK 2.14.0, and `request_too_large` of the errors page (read
#: 2026-11-30).
API_ERRORS = (
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
    "conflict_error",
    "memory_precondition_failed_error",
    "memory_path_conflict_error",
)
#: `error.details.error_code` of a reached spend limit: the `*SpendLimitReachedError` types of the SDK 2.14.0.
SPEND_CAPS = (
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
)
#: All outcomes.
OUTCOMES = (
    SUCCESS,
    ABANDONED,
    TRUNCATED,
    CANCELLED,
    TIMEOUT,
    CONNECTION_ERROR,
    REFUSAL,
    BLOCKED,
    *API_ERRORS,
    *SPEND_CAPS,
)
#: `stop_reason` as documented: handling stop reasons, and `BetaStopReason` of the SDK 2.14.0 (read 2026-11-30).
STOP_REASONS = (
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "compaction",
    "refusal",
    "model_context_window_exceeded",
)
#: Why the tokens of a successful answer are unknown.
NO_USAGE, UNKNOWN_SHAPE, UNREADABLE = "no_usage", "unknown_shape", "unreadable"
#: Outcomes that are not failures: the request succeeded, or the caller or a policy ended it.
_NO_FAILURE = (SUCCESS, ABANDONED, CANCELLED, REFUSAL, BLOCKED)
NO_FAILURE = frozenset(_NO_FAILURE)
#: Outcomes outside of the error ratio, as a regular expression: rate limits and overload have their own alerts.
NOT_IN_ERROR_RATIO = "|".join((*_NO_FAILURE, "rate_limit_error", "overloaded_error"))

#: The disjoint parts of a call's tokens; they sum to everything billed by the token.
TOKEN_TYPES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


class Tokens(NamedTuple):
    """Tokens of one inference as a partition: the parts are disjoint and sum to the whole."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All tokens of the prompt: uncached input, cache reads and cache writes."""
        return self[0] + self[1] + self[2] + self[3]


class Inference(NamedTuple):
    """One separately billed inference. A call has one, unless `usage.iterations` lists more.

    `billable` is False for an attempt that declined and is free. `certain` is False if the response does not say
    whether it is. `rewritten` counts those of the cache writes that copy a prefix which was warm on the model that
    declined: they are billed at the cache-read price.
    """

    model: str
    tokens: Tokens
    billable: bool = True
    certain: bool = True
    rewritten: int = 0


class Cost(NamedTuple):
    """Dollars of one inference, by the same partition as `Tokens`."""

    input: float = 0.0
    cache_read: float = 0.0
    cache_write_5m: float = 0.0
    cache_write_1h: float = 0.0
    output: float = 0.0


class Bill(NamedTuple):
    """What a `Call` costs.

    `costs` runs parallel to `Call.inferences`; None stands for a model that the price book does not know.
    `cache_result` is `hit`, `miss`, `ineligible` or `unasked`. `estimates` are dollars by reason that the invoice may
    differ by. All other values are dollars.
    """

    costs: tuple[Cost | None, ...]
    server_tools: tuple[tuple[str, float], ...]
    total_usd: float
    cache_result: str
    cache_miss_cost_usd: float = 0.0
    cache_savings_usd: float = 0.0
    cache_write_premium_usd: float = 0.0
    estimates: tuple[tuple[str, float], ...] = ()


class Task(NamedTuple):
    """One run of a piece of work, with the limits that its code set; `number` is unique in the process."""

    number: int
    name: str = ""
    max_calls: int | None = None
    max_usd: float | None = None


#: What is remembered of a request for advice: hashes with a random key of this process, counts and lengths. In order:
#: the hash of its prefix (the system prompt and the tools; 0 if there are none); the hash of the prefix and the first
#: message, which stands for the conversation; the number of messages; whether it is one message without tools and
#: without a stream, which a batch could carry; the prefix's part of the prompt, and a hash of all of the prefix, where
#: they were measured. A plain tuple: one is made in each call, and a named one takes three times as long.
Sight = tuple[int, int, int, bool, "float | None", "int | None"]


_CLAUDE = re.compile(r"claude-[a-z0-9-]{1,60}")
_NONE: Mapping[bytes, bytes] = MappingProxyType({})


class Call(NamedTuple):
    """One HTTP attempt, or one batch result. Frozen; the only value that crosses from capture to metrics.

    Times are seconds; `started_at` is seconds since the Unix epoch and selects dated prices. `requests` is 0 for a
    batch result or a session of managed agents, which count tokens and dollars but are not requests. `retry_reason` is
    the outcome of the attempt before this one, empty on a first attempt. `call_duration_seconds` runs from the first
    attempt of the call to the end of this, its last one; None where another attempt may follow.
    `estimated_output_tokens` is what an unfinished stream had surely begun to produce: an estimate, never part of
    `inferences`. `estimates` are the reasons why the dollars may differ from the invoice (`fallback_credit`,
    `fallback_hop`, `priority_tier`, `inference_profile`). `regional` marks a regional endpoint of a cloud platform.
    `rate_limit_headers` are the `anthropic-ratelimit-*` family as sent, by lower-case name; bytes that are read only
    when somebody scrapes. `unmetered` says why the tokens of an answer that succeeded are not known. `session_seconds`
    is billed runtime of a session. `task` is what the call was made for, where its code said so; it is not a label.
    `prompt` is what `Recorder(advise=True)` remembers of the request. `bill` is None until the recorder has priced the
    call.
    """

    model: str
    outcome: str = SUCCESS
    inferences: tuple[Inference, ...] = ()
    feature: str = ""
    user: str = ""
    tier: str = "standard"
    started_at: float = 0.0
    duration_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
    stop_reason: str = ""
    thinking_tokens: int = 0
    server_tools: tuple[tuple[str, int], ...] = ()
    cache_asked: bool = False
    cache_miss_reason: str = ""
    inference_geo: str = ""
    regional: bool = False
    billable: bool = True
    requests: int = 1
    retry_reason: str = ""
    estimated_output_tokens: int = 0
    rate_limit_headers: Mapping[bytes, bytes] = _NONE
    call_duration_seconds: float | None = None
    estimates: tuple[str, ...] = ()
    unmetered: str = ""
    session_seconds: float = 0.0
    task: Task | None = None
    prompt: Sight | None = None
    bill: Bill | None = None

    def shown(self, model: str, feature: str, user: str, bill: Bill) -> Call:
        """This call with its bill, under the labels of its series. `_replace` takes four times as long."""
        fields: tuple[object, ...] = self
        return tuple.__new__(Call, (model, *fields[_MODEL_TO_FEATURE], feature, user, *fields[_USER_TO_BILL], bill))

    def __repr__(self) -> str:
        """Show what this library and the application know of the call, but no text from a server."""
        model = self.model if _CLAUDE.fullmatch(self.model) else "..."
        outcome = self.outcome if self.outcome in OUTCOMES else "..."
        usd = "None" if self.bill is None else f"{self.bill.total_usd:.6f}"
        return (
            f"Call(model={model!r}, outcome={outcome!r}, feature={self.feature!r}, tokens={self.total_tokens}, "
            f"requests={self.requests}, started_at={self.started_at}, total_usd={usd})"
        )

    @property
    def output_tokens(self) -> int:
        """Output tokens of all inferences."""
        return sum(inference.tokens.output for inference in self.inferences)

    @property
    def total_tokens(self) -> int:
        """All tokens of all inferences."""
        return sum(sum(inference.tokens) for inference in self.inferences)


_MODEL_TO_FEATURE = slice(Call._fields.index("model") + 1, Call._fields.index("feature"))
_USER_TO_BILL = slice(Call._fields.index("user") + 1, Call._fields.index("bill"))
