"""Quantiles of bucketed observations, as PromQL's `histogram_quantile` estimates them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def quantile(rank: float, counts: Sequence[float], bounds: Sequence[float]) -> float:
    """The value below which the share `rank` of the observations lies; linear within a bucket.

    An observation above the last bound counts as that bound. Without observations the last bound is returned.

    Args:
        rank: 0 to 1.
        counts: observations per bucket, not cumulative; one more than `bounds`, for those above the last bound.
        bounds: upper bounds of the buckets, ascending.
    """
    wanted = rank * sum(counts)
    for index, (below, count) in enumerate(zip(accumulate((0.0, *counts)), counts, strict=False)):
        if count and below + count >= wanted:
            if index == len(bounds):
                break
            start = bounds[index - 1] if index else 0.0
            return start + (bounds[index] - start) * (wanted - below) / count
    return float(bounds[-1])
