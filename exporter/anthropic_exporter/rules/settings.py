"""What the rules need to know about the Prometheus that evaluates them."""

from __future__ import annotations

from dataclasses import dataclass

from anthropic_exporter.errors import ConfigurationError

SCRAPE_INTERVALS = range(5, 61)
FORMATS = ("rules", "prometheus-rule", "mimir")


@dataclass(frozen=True)
class Fit:
    """Settings of the generator. The defaults write the shipped bundle.

    Attributes:
        scrape_interval: seconds between scrapes and between evaluations, 5 to 60.
        job: scrape jobs of the processes that import the recorder, as a regular expression of Prometheus.
        dashboard_url: address of the dashboard.
        runbook_url: folder of the runbooks; one page an alert, named for it.
        keep_labels: labels of a target, such as `namespace`, that stay through every aggregation.
        utc_offset_minutes: what the budget's day is ahead of UTC.
        without: questions whose rules are left out, such as `meter`.
        format: `rules` (files for `rule_files`), `prometheus-rule` (objects of the operator) or `mimir`.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    scrape_interval: int = 5
    job: str = "anthropic|anthropic-exporter"
    dashboard_url: str = "http://localhost:3000/d/anthropic-cost/claude-cost"
    runbook_url: str = "https://github.com/anthropic-exporter/anthropic-exporter/blob/main/docs/runbooks"
    keep_labels: tuple[str, ...] = ()
    utc_offset_minutes: int = 0
    without: tuple[str, ...] = ()
    format: str = "rules"

    def __post_init__(self) -> None:
        if self.scrape_interval not in SCRAPE_INTERVALS:
            raise ConfigurationError(f"scrape interval {self.scrape_interval} s: use 5 to 60 seconds")
        if self.format not in FORMATS:
            raise ConfigurationError(f"format {self.format!r}: use one of {', '.join(FORMATS)}")

    def placeholders(self) -> dict[str, str]:
        """The value of each `${name}` in a template."""
        return {"job": self.job, "dashboard_url": self.dashboard_url, "runbook_url": self.runbook_url}
