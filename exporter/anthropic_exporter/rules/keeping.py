"""Keeps labels of a target, such as `namespace`, through every aggregation of a rule file.

Series of processes have the labels; thresholds, the ledger's clock, and the metrics of Prometheus and Alertmanager do
not. So the labels are added to each list of `by` and `on`, except where one side lacks them: there the match becomes
many-to-one. Texts of alerts query the series with their own labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_RULES = re.compile(r"(?m)^(?=      - (?:record|alert): )")
_OF_OTHERS = re.compile(r"\b(?:prometheus|alertmanager|vmalert)_\w|anthropic_\w+:ours")
_BARE = re.compile(r"\b(?P<operation>sum|max|min|group|count)\((?!anthropic_threshold|\s*anthropic_threshold)")
_BY = re.compile(r"\bby \((?P<labels>[^)]+)\)(?! \(anthropic_threshold)")
_ON = re.compile(r"\bon \((?P<labels>[^)]*)\)(?P<next>\s+(?:group_left|[\w:]+|\(|-|\$\{|\d)?(?:[\w:]*))")
_GLOBAL = re.compile(r"anthropic_ledger:(?:\w+_seconds|now)|last_over_time|absent|count_over_time|\(count_over_time")
_WITHOUT_LABELS = re.compile(r"anthropic_threshold|(?:total|feature):anthropic_\w+_per_(?:day|month):threshold")
_RESOLUTION = re.compile(r" group_left \(\) max by ")
_QUERY = re.compile(r'\(printf "(?P<query>(?:[^"\\]|\\.)*)"(?P<arguments>(?: \$\w+(?:\.\w+)?)+)\)')


def keep(text: str, labels: Sequence[str]) -> str:
    """A rule file in which the labels stay.

    Args:
        text: a generated rule file.
        labels: names of labels of the targets.
    """
    if not labels:
        return text
    head, *rules = _RULES.split(text)
    return head + "".join(_rule(rule, ", ".join(labels), labels) for rule in rules)


def _rule(rule: str, joined: str, labels: Sequence[str]) -> str:
    expression, annotations, rest = rule.partition("        annotations:\n")
    if not _OF_OTHERS.search(expression):
        expression = _expression(expression, joined)
    return expression + annotations + _QUERY.sub(lambda found: _query(found, labels), rest)


def _expression(text: str, joined: str) -> str:
    text = _BARE.sub(rf"\g<operation> by ({joined}) (", text)
    text = _BY.sub(lambda found: f"by ({_with(found['labels'], joined)})", text)
    return _ON.sub(lambda found: _on(found, text, joined), text)


def _on(found: re.Match[str], text: str, joined: str) -> str:
    labels, after = found["labels"], text[found.end("labels") + 1 :]
    following = after.lstrip()
    if labels in ("day", "month") or _RESOLUTION.match(after):
        return found[0]
    if _WITHOUT_LABELS.match(following):
        return f"on ({labels}) group_left (){found['next']}"
    if not labels and (following.startswith("group_left") or _GLOBAL.match(following)):
        return found[0]
    return f"on ({_with(labels, joined)}){found['next']}"


def _with(labels: str, joined: str) -> str:
    known = [label.strip() for label in labels.split(",") if label.strip()]
    return ", ".join([*known, *(label for label in joined.split(", ") if label not in known)])


def _query(found: re.Match[str], labels: Sequence[str]) -> str:
    """A query of a description, for the labels of its alert."""
    for place in ("feature", "model"):
        matcher, argument = f"{place}=%q", f"$labels.{place}"
        if _WITHOUT_LABELS.match(found["query"]):
            return found[0]
        if matcher in found["query"] and found["arguments"].split().count(argument) == 1:
            matchers = "".join(f", {label}=%q" for label in labels)
            arguments = "".join(f" $labels.{label}" for label in labels)
            query = found["query"].replace(matcher, matcher + matchers, 1)
            return f'(printf "{query}"{found["arguments"].replace(argument, argument + arguments)})'
    return found[0]
