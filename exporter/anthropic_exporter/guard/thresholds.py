"""The thresholds of the rules, read from the same file: `prometheus/rules/thresholds.yml`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bundle, yaml_with_lines
from anthropic_exporter.errors import ConfigurationError

#: What the Guard reads. The file may hold more; of these, each needs its default.
NAMES = frozenset(
    {
        "cost_usd_per_minute",
        "total_cost_usd_per_minute",
        "cost_min_requests",
        "cost_spike_ratio",
        "cost_spike_min_usd_per_minute",
        "token_spike_ratio",
        "token_spike_min_tokens_per_minute",
        "spike_min_requests",
        "request_cost_usd",
        "request_output_tokens",
        "cache_miss_ratio",
        "cache_read_share_drop",
        "cache_min_requests",
        "cache_min_input_tokens_per_minute",
        "cache_miss_cost_usd_per_minute",
        "tokens_per_day",
        "cost_usd_per_day",
        "latency_p95_seconds",
        "ttft_p95_seconds",
        "latency_min_requests",
        "stuck_request_seconds",
        "error_ratio",
        "rate_limited_ratio",
        "overloaded_ratio",
        "error_min_requests",
        "error_min_failures",
    }
)
_RECORD = "anthropic_threshold"
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: math.fmod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


class Threshold(NamedTuple):
    """One number of the file; empty feature and model mean "all the others"."""

    name: str
    value: float
    feature: str = ""
    model: str = ""


class Limits:
    """Thresholds by name, with overrides by feature and model.

    The most specific applies, as in the rules: feature and model, then feature, then model, then the default.

    Args:
        thresholds: every number; each of `NAMES` needs one without feature and model.
        source: where they come from, for error messages.

    Raises:
        ConfigurationError: a threshold that the Guard needs is missing, or one is given twice.
    """

    def __init__(self, thresholds: Iterable[Threshold], *, source: str = "limits") -> None:
        self._source = source
        self._values: dict[tuple[str, str, str], float] = {}
        for one in thresholds:
            key = (one.name, one.feature, one.model)
            if key in self._values:
                raise ConfigurationError(f"{source}: threshold {_shown(one)} is given twice; remove one of them")
            if math.isnan(one.value):  # nothing exceeds it: the alert would be off without a word
                raise ConfigurationError(f"{source}: threshold {_shown(one)} is NaN; give a number, or Inf for none")
            self._values[key] = one.value
        missing = sorted(name for name in NAMES if (name, "", "") not in self._values)
        if missing:
            raise ConfigurationError(
                f"{source}: threshold {', '.join(missing)} has no default; add a rule without feature and model for it"
            )

    @classmethod
    def shipped(cls) -> Limits:
        """The thresholds of the bundle: what the shipped rules use."""
        return cls.from_file(bundle.path("prometheus") / "rules" / "thresholds.yml")

    @classmethod
    def from_file(cls, path: str | Path) -> Limits:
        """Read a Prometheus rule file of `anthropic_threshold` series, the one that the rules use.

        Raises:
            ConfigurationError: the file cannot be read, a threshold is missing, given twice, or no plain number.
        """
        path = Path(path)
        return cls(_thresholds(path), source=str(path))

    def replace(self, *, feature: str = "", model: str = "", **values: float) -> Limits:
        """The same limits with other values, such as `limits.replace(cost_usd_per_minute=5, feature="chat")`.

        Raises:
            ConfigurationError: there is no threshold with this name, or a value is not a number.
        """
        known = {name for name, _, _ in self._values}
        if unknown := sorted(values.keys() - known):
            raise ConfigurationError(f"{self._source}: no threshold is called {', '.join(unknown)}")
        changed = dict(self._values)
        for name, value in values.items():
            try:
                changed[name, feature, model] = float(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise ConfigurationError(f"{self._source}: {name}={value!r:.40}: expected a number") from error
        return Limits((Threshold(key[0], value, key[1], key[2]) for key, value in changed.items()), source=self._source)

    def of(self, name: str, feature: str = "", model: str = "") -> float:
        """The threshold of this name that applies to the feature on the model."""
        values = self._values
        for key in ((name, feature, model), (name, feature, ""), (name, "", model)):
            if key in values:
                return values[key]
        return values[name, "", ""]

    def own(self, name: str) -> dict[str, float]:
        """The overrides of features: value by feature."""
        return {key[1]: value for key, value in self._values.items() if key[0] == name and key[1] and not key[2]}


class PlaceThresholds:
    """The thresholds of one feature and model, each looked up once; one attribute for each name.

    Args:
        limits: all thresholds.
        feature: the feature.
        model: the model.
    """

    def __init__(self, limits: Limits, feature: str, model: str) -> None:
        self._limits, self._feature, self._model = limits, feature, model

    def __getattr__(self, name: str) -> float:
        value = self._limits.of(name, self._feature, self._model)
        setattr(self, name, value)
        return value


def _shown(one: Threshold) -> str:
    where = [f"{key}={value}" for key, value in (("feature", one.feature), ("model", one.model)) if value]
    return f"{one.name} ({', '.join(where)})" if where else one.name


def _thresholds(path: Path) -> Iterable[Threshold]:
    for group in _list(yaml_with_lines.load(path), "groups", path):
        for rule in _list(group, "rules", path):
            if isinstance(rule, yaml_with_lines.Mapping) and rule.get("record") == _RECORD:
                yield _threshold(rule, path)


def _list(mapping: Any, key: str, path: Path) -> list[Any]:
    found = mapping.get(key) if isinstance(mapping, Mapping) else None
    if not isinstance(found, list):
        raise ConfigurationError(f"{path}: expected a Prometheus rule file; it has no list `{key}:`")
    return found


def _threshold(rule: yaml_with_lines.Mapping, path: Path) -> Threshold:
    where = f"{path}:{rule.lines['record']}"
    labels = rule.get("labels")
    if not isinstance(labels, Mapping) or not isinstance(labels.get("threshold"), str):
        raise ConfigurationError(f"{where}: an {_RECORD} needs a label `threshold:` with its name")
    feature, model = labels.get("feature", ""), labels.get("model", "")
    return Threshold(labels["threshold"], _number(str(rule.get("expr", "")), where), str(feature), str(model))


def _number(expression: str, where: str) -> float:
    """The value of a PromQL expression made of numbers alone."""
    try:
        return _value(ast.parse(expression.strip().replace("^", "**"), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError, KeyError) as error:
        shown = " ".join(expression.split())[:80]
        raise ConfigurationError(
            f"{where}: `{shown}` is not a plain number; the Guard reads numbers and + - * / % ^ only"
        ) from error


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name.lower() == "inf":
            return math.inf
        case ast.Call(func=ast.Name(id="vector"), args=[argument], keywords=[]):
            return _value(argument)
        case ast.BinOp(left=left, op=op, right=right):
            return float(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=op, operand=operand):
            return float(_OPERATORS[type(op)](_value(operand)))
    raise ValueError("not a number")
