"""Which files an export consists of, as text by path. Pure: nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping

from anthropic_exporter import bundle
from anthropic_exporter.export import dashboards, mimir, operator, snippets
from anthropic_exporter.rules import Fit, generate

#: The file that users edit; an export never overwrites it.
THRESHOLDS = "thresholds.yml"


def files(fit: Fit) -> dict[str, str]:
    """Text of each file by its path below the folder of the export.

    Raises:
        ConfigurationError: this installation does not have the bundle.
    """
    return {
        **_rules({THRESHOLDS: thresholds(fit), **generate(fit)}, fit),
        **_routing(fit),
        "dashboards/claude-cost.json": dashboards.fitted(_shipped("grafana", "dashboards", "claude-cost.json"), fit),
    }


def thresholds(fit: Fit) -> str:
    """The shipped thresholds, evaluated as often as the rules that read them."""
    text = _shipped("prometheus", "rules", THRESHOLDS)
    return text.replace("    interval: 5s\n", f"    interval: {fit.placeholders()['step']}\n")


def _rules(texts: Mapping[str, str], fit: Fit) -> dict[str, str]:
    if fit.format == "prometheus-rule":
        return {f"rules/{name}": operator.prometheus_rule(name, text) for name, text in texts.items()}
    if fit.format == "mimir":
        return {f"rules/{name}": mimir.namespace(name, text) for name, text in texts.items()}
    return {f"rules/{name}": text for name, text in texts.items()}


def _routing(fit: Fit) -> dict[str, str]:
    shipped = snippets.kept(_shipped("alertmanager", "alertmanager.yml"), fit.keep_labels)
    templates = {"alertmanager/templates/anthropic.tmpl": _shipped("alertmanager", "templates", "anthropic.tmpl")}
    if fit.format == "prometheus-rule":
        return {
            "podmonitor.yml": operator.pod_monitor(fit),
            "servicemonitor.yml": operator.service_monitor(fit),
            "alertmanagerconfig.yml": operator.alertmanager_config(shipped),
        }
    return {
        "prometheus/scrape_config.yml": snippets.scrape_config(fit),
        "alertmanager/route.yml": snippets.route(shipped),
        **templates,
    }


def _shipped(folder: str, *names: str) -> str:
    return bundle.path(folder).joinpath(*names).read_text(encoding="utf-8")
