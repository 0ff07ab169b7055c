"""The layout of blocks: where each number of a label set is."""

from __future__ import annotations

from anthropic_exporter.call import TOKEN_TYPES
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import ExactSums, width

CACHE_RESULTS = ("hit", "miss", "ineligible", "unasked")

# Layout of the block of a (model, feature): counters first, then the histograms. A histogram's buckets begin at its
# own offset, and its sum is its last float.
THINKING, MISS_COST, SAVINGS, PREMIUM, ESTIMATED = range(5)
CACHE_RESULT = {result: 5 + index for index, result in enumerate(CACHE_RESULTS)}
DURATION = 5 + len(CACHE_RESULTS)
CALL_DURATION = DURATION + width(f.DURATION)
TTFT = CALL_DURATION + width(f.CALL_DURATION)
OUTPUT_TOKENS = TTFT + width(f.TTFT)
COST = OUTPUT_TOKENS + width(f.REQUEST_OUTPUT_TOKENS)
DURATION_SUM, CALL_DURATION_SUM, TTFT_SUM = CALL_DURATION - 1, TTFT - 1, OUTPUT_TOKENS - 1
OUTPUT_TOKENS_SUM, COST_SUM = COST - 1, COST + width(f.REQUEST_COST) - 1
# Layout of the block of a (model, feature, user, tier): tokens and dollars by type are shown. Behind them are the
# dollars since those shown were last settled, and what was rounded off of those shown.
KINDS = len(TOKEN_TYPES)
USD, USD_SINCE, USD_REST = KINDS, 2 * KINDS, 3 * KINDS
SUMS = ExactSums(USD, USD_SINCE, USD_REST, KINDS)
INPUT, CACHE_READ, CACHE_WRITE_5M, CACHE_WRITE_1H, OUTPUT = range(KINDS)
INPUT_USD, CACHE_READ_USD, CACHE_WRITE_5M_USD, CACHE_WRITE_1H_USD, OUTPUT_USD = range(USD_SINCE, USD_REST)
