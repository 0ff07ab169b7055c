"""Settings of the rules, which describe the Prometheus that evaluates them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.call import NOT_IN_ERROR_RATIO
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.rules import re2
from anthropic_exporter.rules.templates import QUESTIONS

SCRAPE_INTERVALS = range(5, 61)
SLOW = detection_numbers().slow_window_seconds
MINUTE = 60
#: Prometheus' default, in seconds.
_SCRAPE_TIMEOUT = 10
#: What every other rule file reads.
NEEDED = ("ledger",)
#: A question, and another one that reads what its rules record.
READ_BY = {"tokens": "cost"}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: Words that YAML reads as something else than text.
_YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: A name in a regular expression: no operators but the dot, which is in many names.
_PLAIN_JOB = re.compile(r"(?:[^\\*+?()\[\]{}|^$]|\\\W)+")
_URL = re.compile(r"https?://[^\s\"'<>{}\\^`|#]+")
#: Labels that rules or metrics of the bundle have, so that none of them can be one of a target.
_OWN_LABELS = (
    *("life", "of", "feature", "model", "tier", "when", "part", "le", "quantile", "threshold", "alertname", "severity"),
    *("category", "user", "outcome", "type", "tool", "stage", "reason", "stop_reason", "resource", "__name__"),
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PRECISE = re.compile(r"(\d+)(ms|[smhdw])")
#: MetricsQL counts from the scrape before a window on, and extrapolates nothing.
_OF_VMALERT = {"rate_covered": "1"}
FORMATS = ("rules", "prometheus-rule", "mimir", "vmalert")


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
        without: rule files that are left out, such as `meter`.
        format: `rules` (files for `rule_files`), `prometheus-rule` (objects of the operator), `mimir` or `vmalert`.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    scrape_interval: int = 5
    job: str = "anthropic|anthropic-exporter"
    dashboard_url: str = "http://localhost:3000/d/anthropic-cost/claude-cost"
    runbook_url: str = "http://localhost:9464/runbooks"
    keep_labels: tuple[str, ...] = ()
    utc_offset_minutes: int = 0
    without: tuple[str, ...] = ()
    format: str = "rules"

    def __post_init__(self) -> None:
        if self.scrape_interval not in SCRAPE_INTERVALS:
            raise ConfigurationError(
                f"scrape interval {self.scrape_interval} s: use 5 to 60 seconds; "
                "a scrape job may have an interval of its own (scrape_interval)"
            )
        self._check_job()
        self._check_urls()
        if self.format not in FORMATS:
            raise ConfigurationError(f"format {self.format!r}: use one of {', '.join(FORMATS)}")
        for question in self.without:
            self._check_left_out(question)
        for label in self.keep_labels:
            if not _LABEL.fullmatch(label) or label in _OWN_LABELS:
                raise ConfigurationError(
                    f"label {label!r} cannot be kept: name a label of your targets, such as namespace"
                )

    def _check_job(self) -> None:
        if _CONTROL.search(self.job) or (problem := re2.problem(self.job)) == re2.OTHER_SYNTAX:
            raise ConfigurationError(f"job {self.job!r} is not a regular expression of Prometheus (RE2)")
        if problem:
            raise ConfigurationError(f"job {self.job!r} is not a regular expression: {problem}")

    def _check_urls(self) -> None:
        for what, url in (("dashboard", self.dashboard_url), ("runbook", self.runbook_url)):
            if not _URL.fullmatch(url) or (what == "runbook" and "?" in url):
                raise ConfigurationError(f"{what} URL {url!r}: expected an address such as https://host/path")

    @property
    def job_name(self) -> str:
        """A name for a scrape job, as YAML: the first alternative of `job`, if it is a name."""
        first = _PLAIN_JOB.match(self.job)
        name = first[0] if first and self.job[first.end() :][:1] in ("", "|") else "anthropic"
        plain = re.sub(r"\\(\W)", r"\1", name)
        bare = re.fullmatch(r"[a-zA-Z][\w.-]*", plain) and plain.lower() not in _YAML_WORDS
        return plain if bare else json.dumps(plain, ensure_ascii=False)

    def _check_left_out(self, question: str) -> None:
        if (reader := READ_BY.get(question)) and reader not in self.without:
            raise ConfigurationError(f"{question} cannot be left out without {reader}: its rules read it")
        if question in NEEDED:
            raise ConfigurationError(f"{question} cannot be left out: the other rules read it")
        if question not in QUESTIONS:
            left = ", ".join(name for name in QUESTIONS if name not in NEEDED)
            raise ConfigurationError(f"{question!r} is not a rule file; leave out one of {left}")

    def placeholders(self) -> dict[str, str]:
        """The value of each `${name}` in a template."""
        return {
            "job": self.job.replace("\\", "\\\\").replace('"', '\\"'),
            "dashboard_url": self.dashboard_url + ("&" if "?" in self.dashboard_url else "?"),
            "runbook_url": self.runbook_url.rstrip("/"),
            **_calendar(self.utc_offset_minutes),
            "not_in_error_ratio": NOT_IN_ERROR_RATIO,
            **windows(self.scrape_interval),
            **_shared_numbers(),
            **(_OF_VMALERT if self.format == "vmalert" else {}),
        }


def windows(scrape: int, step: int | None = None) -> dict[str, str]:
    """Every duration that follows from the interval between scrapes.

    Args:
        scrape: seconds between scrapes.
        step: seconds between evaluations; by default few enough that two groups in a row do not delay an alert.
    """
    step = step or _step(scrape)
    fast, ticks = _fast(scrape), -(-scrape // step) + 3
    rate = max(fast, 4 * scrape)
    # The scrape after a failed one has answered by then, however late: one failure alone is not a target that is down.
    down = scrape + max(step, min(scrape, _SCRAPE_TIMEOUT))
    return {
        "step": duration(step),
        "steps_a_minute": f"{60 / step:g}",
        "onset_cap_steps": f"{max(12, 60 // step)}",
        "latency_step": duration(max(15, step)),
        "alive": duration(4 * scrape),
        "leave": duration(4 * scrape + 340),
        "seen": duration(2 * scrape),
        "lives": duration(MINUTE + max(MINUTE, 2 * scrape)),
        "memory": "70m",
        "young": f"{max(60, 2 * scrape + 30)}",
        "pause_ticks": f"{ticks}",
        "pause": duration(ticks * step + 2),
        "settled": duration((ticks + 2) * step),
        "fast": duration(fast),
        "fast_seconds": f"{fast}",
        "fast_minutes": f"{fast / 60:g}",
        "fast_per_minute": f"{60 / fast:g}",
        "fast_of_slow": f"{fast / SLOW:g}",
        "slow": duration(SLOW),
        "slow_seconds": f"{SLOW}",
        "slow_minutes": f"{SLOW / 60:g}",
        "slow_per_minute": f"{60 / SLOW:g}",
        "rate": duration(rate),
        "rate_covered": f"{(rate - scrape) / rate:.6g}",
        "growth": "1m" if 4 * scrape <= MINUTE else duration(4 * scrape),
        "down": duration(down),
        "gone": duration(max(30, 2 * scrape)),
        "down_seconds": f"{down}",
    }


def duration(seconds: int) -> str:
    """Seconds as Prometheus writes them, in the largest unit that holds them exactly."""
    return f"{seconds // 60}m" if seconds % 60 == 0 and seconds > MINUTE else f"{seconds}s"


def seconds(written: str) -> int:
    """`1m30s` as 90; a plain number is one of seconds."""
    if written.isdigit():
        return int(written)
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(written))


def milliseconds(written: str) -> int:
    """A duration as Prometheus shows it, such as `1m30s` or `500ms`."""
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PRECISE.findall(written))


def _step(scrape: int) -> int:
    """Seconds between evaluations: a divisor of the interval if one is near, so that windows hold whole scrapes."""
    most = 5 if scrape <= 15 else 10 if scrape <= 30 else 15  # noqa: PLR2004
    return next((step for step in range(most, -(-most // 3) - 1, -1) if scrape % step == 0), most)


def _fast(scrape: int) -> int:
    """Whole scrapes, at least 30 s: more of them if the interval is short, so that a failed one matters less."""
    fewest = 4 if scrape <= 15 else 3 if scrape <= 30 else 2  # noqa: PLR2004
    return scrape * max(fewest, -(-30 // scrape))


def _shared_numbers() -> dict[str, str]:
    """What the rules share with the Guard: quantiles and shares of `bundle/detection.yml`."""
    numbers = detection_numbers()
    found = {name: f"{value:g}" for name, value in numbers._asdict().items() if isinstance(value, int | float)}
    return found | {"fast_requests_factor": f"{1 / numbers.fast_window_share:g}"}


def _calendar(offset_minutes: int) -> dict[str, str]:
    sign, minutes = "-" if offset_minutes < 0 else "+", abs(offset_minutes)
    zone = f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}" if offset_minutes else "UTC"
    now = f"(time() {sign} {60 * minutes})" if offset_minutes else "time()"
    return {"now": now, "zone": zone}
