"""The rules of the bundle as vmalert evaluates them.

vmalert writes results asynchronously, some seconds after an evaluation. So the ledger and the budgets have templates of
their own, in `templates/vmalert/`, which read the series of processes only; every other rule contains the rules that it
reads, down to the ledger's (`inlining.py`). What adds to its own last result cannot be expressed, and is left out.
`keep_firing_for`, which old versions of vmalert do not know, is replaced by a condition that is recorded and read over
its time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.rules import bundle, questions, templates
from anthropic_exporter.rules.settings import Fit, seconds
from anthropic_exporter.rules.vmalert import spent
from anthropic_exporter.rules.vmalert.inlining import inline

Rule = dict[str, Any]
Group = dict[str, Any]

#: Answers without VictoriaMetrics' cache and its `-search.latencyOffset`, which would make every alert 30 s late.
PARAMS = {"nocache": ["1"], "latency_offset": ["1ms"]}
CONDITION = "anthropic_condition:value"
OWN = ("budget", "ledger", "meter")
_REPLACED_WHOLE = ("ledger",)
_CONSTANTS = "anthropic-ledger-constants"
#: What adds to its own last result, or reads what does; and what only these read.
_LEFT_OUT = re.compile(
    r"anthropic_incident_|:usual$|:increase_step$|anthropic_detection|exporter_detection_seconds"
    r"|^when:anthropic_requests:|^AnthropicCountedLate$"
)
#: Internal to the form for Prometheus; nothing is lost without them.
_NOT_NEEDED = re.compile(
    r"^anthropic_ledger:|^feature:anthropic_\w+:ledger$|^feature_day_month:|anthropic_cache_\w+:increase_minute$"
    r"|^feature:anthropic_tokens:increase_minute$|:anthropic_(?:prometheus|alertmanager):ours$"
)
_GROWTH = re.compile(
    r"anthropic_ledger:total\{(?P<selector>[^}]*)\}\s*"
    r"- \(last_over_time\(anthropic_ledger:total\{[^}]*\}\[\w+\] offset (?P<ago>\w+)\)"
    r" or 0 \* anthropic_ledger:total\{[^}]*\}\)"
)
_CLOCK = 'anthropic_ledger:now{part="clock"}'
_PROMPT = re.compile(r', when="prompt"')
_SUMS = {"59m59s": "increase_hour", "23h59m59s": "sum24h"}
_SUM = re.compile(r"sum_over_time\(feature:anthropic_cost_usd:increase_minute(?P<matchers>\{%s\})?\[(?P<span>\w+)\]\)")
#: The subjects of a threshold are features and models that are counted; here these are cheaper to find.
_SUBJECTS = re.compile(
    r"(group by \([^)]*\)) \(\w+:anthropic_(?!ended)\w+:(?:rate|increase)_fast"
    r" or \w+:anthropic_\w+:(?:rate|increase)_slow\)"
)
_COUNTED = r"\1 (feature_model:anthropic_ledger:alive_fast or feature_model:anthropic_ledger:alive_slow)"
#: The form for Prometheus also counts features that no process has any longer; here growth is that of living ones.
_LIVING = re.compile(r"\n *and on \([^)]*\) feature_model:anthropic_ledger:alive_(?:fast|slow)\b")
#: Reads series of processes: many.
_RAW = re.compile(r"(?<![\w:])anthropic_(?!threshold\b)\w+(?![\w:])")
#: Reads the same results many times.
_MANY = re.compile(r"beyond_chance")
_INCIDENT = re.compile(r"\{\{-? with query [^}]*?anthropic_incident_(?:[^}]|\}(?!\}))*\}\}.*?\{\{ end \}\}", re.DOTALL)
#: A query for a resolved threshold. What has just appeared has none recorded yet.
_THRESHOLD = re.compile(
    r"(?P<level>feature_model|feature|model):anthropic_(?P<name>\w+):threshold"
    r'\{(?:feature=%q, model=%q|feature=%q|model=%q)\}(?="(?: \$labels\.\w+)+\))'
)
#: The same for the total; its threshold has its own name, or that of the features.
_TOTAL_THRESHOLD = re.compile(r"total:anthropic_(?P<name>\w+_per_(?:day|month)):threshold")
#: One number of a sentence, which would have a hole where its record is not written yet.
_NUMBER = re.compile(
    r"(?P<shown>\{\{ with query (?:(?!\}\}).)*\}\}\{\{ \. \| first \| value \| printf \"[^\"]*\" \}\})\{\{ end \}\}"
)
_EMPTY = r"\"\""
_LABEL = re.compile(r"(?<!\()\$labels\.(\w+)")


class Rules(NamedTuple):
    """Groups by rule file, and the names of alerts and records of the bundle that this form does not have."""

    files: dict[str, list[Group]]
    left_out: tuple[str, ...]


def generate(fit: Fit) -> Rules:
    """The rules of each question but the thresholds.

    Raises:
        ConfigurationError: the dashboard, whose panels the links open, is missing.
    """
    ids = bundle.panel_ids()
    kept = [question for question in templates.QUESTIONS if question not in fit.without]
    shipped = {one: _load(bundle.render(templates.text(one), questions.BLOCKS, fit, ids)) for one in kept}
    own = {
        one: _load(bundle.render(templates.text(f"vmalert/{one}"), spent.BLOCKS, fit, ids))
        for one in OWN
        if one in kept
    }
    files = {one: _merged(shipped[one] if one not in _REPLACED_WHOLE else [], own.get(one, [])) for one in kept}
    names = {_name(rule) for groups in files.values() for group in groups for rule in group["rules"]}
    left_out = dict.fromkeys(
        _name(rule)
        for groups in shipped.values()
        for group in groups
        for rule in group["rules"]
        if _name(rule) not in names and not _NOT_NEEDED.search(_name(rule))
    )
    return Rules({f"{one}.yml": _Form(files, own).groups(files[one]) for one in kept}, tuple(left_out))


def _load(text: str) -> list[Group]:
    import yaml  # noqa: PLC0415 - only an export needs it here

    return list(yaml.safe_load(text)["groups"])


def _name(rule: Rule) -> str:
    return str(rule.get("record") or rule["alert"])


def _merged(shipped: list[Group], own: list[Group]) -> list[Group]:
    """The shipped groups; a rule of our own replaces the one of its name, or comes before all others."""
    names = {_name(rule) for group in own for rule in group["rules"]}
    groups = {group["name"]: {**group, "rules": list(_kept(group["rules"], names))} for group in shipped}
    for group in own:
        others = groups.get(group["name"], {"rules": []})["rules"]
        records = [rule for rule in group["rules"] if "record" in rule]
        alerts = [rule for rule in group["rules"] if "alert" in rule]
        groups[group["name"]] = {**group, "rules": [*records, *others, *alerts]}
    return [group for group in groups.values() if group["rules"]]


def _kept(rules: Iterable[Rule], replaced: set[str]) -> Iterable[Rule]:
    for rule in rules:
        name = _name(rule)
        if name not in replaced and not _LEFT_OUT.search(name) and not ("record" in rule and _NOT_NEEDED.search(name)):
            yield {**rule, "expr": _of_the_ledger(str(rule["expr"]))}


def _of_the_ledger(expression: str) -> str:
    """Growth of the ledger's totals as growth that is recorded here."""

    def grown(found: re.Match[str]) -> str:
        slow = f"anthropic_ledger:increase_slow{{{_PROMPT.sub('', found['selector'])}}}"
        return f"sum_over_time({slow}[1h:5m])" if found["ago"] == "1h" else slow

    expression = _LIVING.sub("", _GROWTH.sub(grown, expression).replace(_CLOCK, "anthropic_ledger:tick"))
    return _SUBJECTS.sub(_COUNTED, _sums(expression))


def _sums(text: str) -> str:
    return _SUM.sub(lambda found: f"feature:anthropic_cost_usd:{_SUMS[found['span']]}{found['matchers'] or ''}", text)


class _Form:
    """Rules that contain the rules that they read."""

    def __init__(self, files: Mapping[str, list[Group]], own: Mapping[str, list[Group]]) -> None:
        groups = [group for one in files.values() for group in one]
        self._own = {_name(rule) for one in own.values() for group in one for rule in group["rules"]}
        self._constants = {
            rule["record"]: rule["expr"] for group in groups if group["name"] == _CONSTANTS for rule in group["rules"]
        }
        self._intervals = {
            _name(rule): seconds(group["interval"]) for group in groups for rule in group["rules"] if "record" in rule
        }

    def groups(self, groups: list[Group]) -> list[Group]:
        """These groups for vmalert."""
        return [self._group(group) for group in groups]

    def _group(self, group: Group) -> Group:
        own = {rule["record"]: rule["expr"] for rule in group["rules"] if "record" in rule}
        definitions = self._constants | {name: text for name, text in own.items() if self._is_inlined(name, text)}
        rules = [one for rule in group["rules"] for one in self._rules(rule, definitions)]
        return {"name": group["name"], "interval": group["interval"], "params": PARAMS, "rules": rules}

    def _is_inlined(self, name: str, expression: str) -> bool:
        """Whether a record is cheap enough to be evaluated wherever it is read; else its last result is read."""
        return not (name in self._own or _RAW.search(expression) or _MANY.search(name))

    def _rules(self, rule: Rule, definitions: Mapping[str, str]) -> Iterable[Rule]:
        """One rule; two if its alert keeps firing."""
        others = {name: text for name, text in definitions.items() if name != rule.get("record")}
        rule = {**rule, "expr": inline(str(rule["expr"]), others, self._recent)}
        hold = rule.pop("keep_firing_for", None)
        if hold:
            yield {"record": CONDITION, "expr": rule["expr"], "labels": {"alertname": rule["alert"]}}
            held = f'last_over_time({CONDITION}{{alertname="{rule["alert"]}"}}[{hold}])'
            rule["expr"] = f'(\n{rule["expr"].strip()}\n)\nor label_del({held}, "__name__", "alertname")\n'
        if "annotations" in rule:
            rule["annotations"] = _texts(rule["annotations"])
        yield rule

    def _recent(self, name: str) -> str | None:
        """How far to look back for the last result of a record: three evaluations, and the time that writing takes."""
        return f"{3 * self._intervals[name] + 10}s" if name in self._intervals else None


def _texts(annotations: Mapping[str, str]) -> dict[str, str]:
    return {name: _text(text) for name, text in annotations.items() if name != "began"}


def _text(text: str) -> str:
    """A text without the dollars of an incident. A label that is missing is a template's `<no value>` in vmalert."""
    text = _THRESHOLD.sub(_resolution, _sums(_INCIDENT.sub("", text)))
    text = _TOTAL_THRESHOLD.sub(lambda found: _series(found["name"], {}), text)
    return _LABEL.sub(r'(or $labels.\1 "")', _NUMBER.sub(r"\g<shown>{{ else }}an unknown number of{{ end }}", text))


def _resolution(found: re.Match[str]) -> str:
    """The most specific override of a threshold, or its default, in the escapes of a template."""
    places = {label: f"%[{place}]q" for place, label in enumerate(found["level"].split("_"), start=1)}
    fixed = [("feature", "model"), ("feature",), ("model",), ()] if len(places) == 2 else [tuple(places), ()]  # noqa: PLR2004
    series = [_series(found["name"], {label: places[label] for label in labels}) for labels in fixed]
    return f"({' or on () '.join(series)})"


def _series(threshold: str, subject: Mapping[str, str]) -> str:
    """The threshold of a subject, in the escapes of a template."""
    matchers = ", ".join(f"{label}={subject.get(label, _EMPTY)}" for label in ("feature", "model"))
    return f'anthropic_threshold{{threshold=\\"{threshold}\\", {matchers}}}'
