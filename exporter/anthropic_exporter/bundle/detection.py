"""The numbers that the Prometheus rules and the Guard share, from `detection.yml` beside this module."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from anthropic_exporter import yaml_with_lines
from anthropic_exporter.errors import ConfigurationError

PATH = Path(__file__).with_name("detection.yml")


class DetectionNumbers(NamedTuple):
    """One field for each key of `detection.yml`, which says what it means."""

    fast_window_seconds: int
    slow_window_seconds: int
    request_window_seconds: int
    latency_quantile: float
    slow_requests_quantile: float
    long_answers_quantile: float
    usual_answers_quantile: float
    fast_window_share: float
    short_answers_share: float
    cold_cache_share: float
    chance_deviations: float
    resolve_seconds: Mapping[str, float]


@functools.cache
def detection_numbers() -> DetectionNumbers:
    """The numbers, read once.

    Raises:
        ConfigurationError: the file is missing or damaged: install anthropic-exporter again.
    """
    found = dict(yaml_with_lines.load(PATH))
    try:
        found["resolve_seconds"] = MappingProxyType(dict(found["resolve_seconds"]))
        return DetectionNumbers(**found)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{PATH}: keys are missing or unknown; reinstall anthropic-exporter") from error
