"""Parts of configuration files for a user to paste into their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import indent

from anthropic_exporter.rules import Fit

_SCRAPE = """# Paste below scrape_configs of your prometheus.yml, and add the rules:
#
#   rule_files:
#     - RULES/*.yml
#
# evaluation_interval may stay as it is: every group has its own interval.
- job_name: {job}
  scrape_interval: {interval}s
  static_configs:
    - targets: [127.0.0.1:9464]  # the processes that import the recorder
"""
_ROUTE = """# Paste into your alertmanager.yml: the routes below route.routes, the rest below the key of the same name.
# `receiver: exporter` and `receiver: heartbeat` are receivers of `anthropic-exporter serve`; name your own instead.
# Only alerts of this bundle match, so your other alerts are routed as before.
routes:
  - matchers: [alertname=~"Anthropic.*"]
    continue: false
{route}
"""
_BY_SUBJECT = re.compile(r"(?P<list>(?:group_by|equal): \[[^\]]*\b(?:feature|instance)\b[^\]]*)\]")
_SECTION = re.compile(r"(?m)^(?P<name>\w+):\n(?P<body>(?:[ #].*\n|\n)+)")


def kept(shipped: str, labels: Sequence[str]) -> str:
    """The shipped routing with labels of targets in every group and inhibition by feature, model or instance."""
    added = "".join(f", {label}" for label in labels)
    return _BY_SUBJECT.sub(lambda found: f"{found['list']}{added}]", shipped)


def scrape_config(fit: Fit) -> str:
    """A scrape job for processes that import the recorder."""
    return _SCRAPE.format(job=fit.job_name, interval=fit.scrape_interval)


def route(shipped: str) -> str:
    """The shipped routing as one route of a larger tree, then the sections that it needs."""
    sections = {found["name"]: found["body"] for found in _SECTION.finditer(shipped)}
    wanted = ("inhibit_rules", "time_intervals", "receivers", "templates")
    rest = "".join(f"{name}:\n{sections[name].rstrip()}\n\n" for name in wanted)
    return _ROUTE.format(route=indent(sections["route"].rstrip(), "  ")) + "\n" + rest.rstrip() + "\n"
