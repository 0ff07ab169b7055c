"""Rate limits: a token bucket for each workspace, model and resource, and the headers that show it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from anthropic_exporter.simulator.fake_api import wire

if TYPE_CHECKING:
    from anthropic_exporter.simulator.fake_api.behaviour import OrganizationLimits

_MINUTE = 60.0


class RateLimits:
    """The buckets of all workspaces. Times are seconds on the caller's clock."""

    def __init__(self, limits: OrganizationLimits) -> None:
        self._limits = {
            "requests": limits.requests,
            "input-tokens": limits.input_tokens,
            "output-tokens": limits.output_tokens,
        }
        self._used: dict[tuple[str, str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def wait(self, workspace: str, model: str, now: float) -> float:
        """Seconds until there is room for one more request, 0 when there is room."""
        with self._lock:
            return max(self._wait(name, self._level(workspace, model, name, now)) for name in self._limits)

    def take(self, workspace: str, model: str, now: float, **amounts: float) -> None:
        """Use up `requests`, `input_tokens` and `output_tokens`."""
        with self._lock:
            for name, amount in ((name.replace("_", "-"), amount) for name, amount in amounts.items()):
                self._used[workspace, model, name] = (self._level(workspace, model, name, now) + amount, now)

    def headers(self, workspace: str, model: str, now: float) -> dict[str, str]:
        """The twelve `anthropic-ratelimit-*` headers; `tokens` is input and output together."""
        with self._lock:
            levels = {name: self._level(workspace, model, name, now) for name in self._limits}
        limits = dict(self._limits)
        limits["tokens"] = limits["input-tokens"] + limits["output-tokens"]
        levels["tokens"] = levels["input-tokens"] + levels["output-tokens"]
        found = {}
        for name, limit in limits.items():
            remaining = max(0, int(limit - levels[name]))
            rounded = remaining if name == "requests" else round(remaining, -3)
            found[f"anthropic-ratelimit-{name}-limit"] = str(limit)
            found[f"anthropic-ratelimit-{name}-remaining"] = str(rounded)
            found[f"anthropic-ratelimit-{name}-reset"] = wire.timestamp(now + levels[name] / limit * _MINUTE)
        return found

    def _level(self, workspace: str, model: str, name: str, now: float) -> float:
        used, since = self._used.get((workspace, model, name), (0.0, now))
        return max(0.0, used - (now - since) / _MINUTE * self._limits[name])

    def _wait(self, name: str, used: float) -> float:
        beyond = used + 1 - self._limits[name]
        return max(0.0, beyond / self._limits[name] * _MINUTE)
