"""Objects of the Prometheus operator: PrometheusRule, PodMonitor, ServiceMonitor, AlertmanagerConfig.

Source: the custom resource definitions of prometheus-operator, github.com/prometheus-operator/prometheus-operator,
read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anthropic_exporter.rules import Fit

_API = "monitoring.coreos.com"
#: On pods and services that import the recorder and serve /metrics on a port named `anthropic`.
LABEL = "anthropic-exporter"
PORT = "anthropic"
_MATCHER = re.compile(r'\s*(?P<name>\w+)\s*(?P<type>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*')


def prometheus_rule(name: str, text: str) -> str:
    """One rule file as a PrometheusRule."""
    return _object("v1", "PrometheusRule", f"anthropic-{name.removesuffix('.yml')}", {"groups": _load(text)["groups"]})


def pod_monitor(fit: Fit) -> str:
    """Scrape every pod that carries the label, on its port."""
    spec = {
        "selector": {"matchLabels": {LABEL: "true"}},
        "namespaceSelector": {"any": True},
        "podMetricsEndpoints": [{"port": PORT, "interval": f"{fit.scrape_interval}s"}],
    }
    return _object("v1", "PodMonitor", "anthropic", spec)


def service_monitor(fit: Fit) -> str:
    """Scrape every endpoint of services that carry the label, on their port. Use this or the PodMonitor."""
    spec = {
        "selector": {"matchLabels": {LABEL: "true"}},
        "namespaceSelector": {"any": True},
        "endpoints": [{"port": PORT, "interval": f"{fit.scrape_interval}s"}],
    }
    return _object("v1", "ServiceMonitor", "anthropic", spec)


def alertmanager_config(shipped: str) -> str:
    """The shipped routing; its receivers send to the standalone exporter's service."""
    config = _load(shipped)
    spec = {
        "route": _route(config["route"]),
        "inhibitRules": [_inhibit_rule(rule) for rule in config["inhibit_rules"]],
        "muteTimeIntervals": [_mute_time_interval(interval) for interval in config["time_intervals"]],
        "receivers": [_receiver(receiver) for receiver in config["receivers"]],
    }
    return _object("v1alpha1", "AlertmanagerConfig", "anthropic", spec)


def _object(version: str, kind: str, name: str, spec: Mapping[str, Any]) -> str:
    import yaml  # noqa: PLC0415 - only an export needs it here

    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": LABEL}}
    document = {"apiVersion": f"{_API}/{version}", "kind": kind, "metadata": metadata, "spec": spec}
    return str(yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True))


def _load(text: str) -> Any:
    import yaml  # noqa: PLC0415 - only an export needs it here

    return yaml.safe_load(text)


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    converted = {_camel(key): value for key, value in route.items() if key not in ("matchers", "routes")}
    if "matchers" in route:
        converted["matchers"] = _matchers(route["matchers"])
    if "routes" in route:
        converted["routes"] = [_route(one) for one in route["routes"]]
    return converted


def _inhibit_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {
        "sourceMatch": _matchers(rule["source_matchers"]),
        "targetMatch": _matchers(rule["target_matchers"]),
    }
    return converted | ({"equal": rule["equal"]} if "equal" in rule else {})


def _matchers(written: list[str]) -> list[dict[str, str]]:
    found = [_MATCHER.fullmatch(one) for one in written]
    return [{"name": one["name"], "value": one["value"], "matchType": one["type"]} for one in found if one]


def _mute_time_interval(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": interval["name"], "timeIntervals": [_time_interval(one) for one in interval["time_intervals"]]}


def _time_interval(interval: Mapping[str, Any]) -> dict[str, Any]:
    converted = dict(interval)
    if "times" in converted:
        converted["times"] = [{_camel(key): value for key, value in one.items()} for one in converted["times"]]
    return converted


def _receiver(receiver: Mapping[str, Any]) -> dict[str, Any]:
    webhooks = [{_camel(key): value for key, value in one.items()} for one in receiver["webhook_configs"]]
    return {"name": receiver["name"], "webhookConfigs": webhooks}


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)
