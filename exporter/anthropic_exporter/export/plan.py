"""Which files an export consists of, as text by path. Pure: nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping

from anthropic_exporter import bundle
from anthropic_exporter.export import dashboards, mimir, operator, snippets, vmalert
from anthropic_exporter.rules import Fit, generate

#: The file that users edit; an export never overwrites it.
THRESHOLDS = "thresholds.yml"


def files(fit: Fit) -> dict[str, str]:
    """Text of each file by its path below the folder of the export.

    Raises:
        ConfigurationError: this installation does not have the bundle.
    """
    dashboard = dashboards.fitted(_shipped_dashboard(), fit)
    return {
        **_rules({THRESHOLDS: thresholds(fit)}, fit),
        **_routing(fit),
        "dashboards/claude-cost.json": vmalert.dashboard(dashboard) if fit.format == "vmalert" else dashboard,
    }


def left_out(fit: Fit) -> list[str]:
    """What the format cannot express, by name."""
    return vmalert.left_out(fit, _shipped_dashboard()) if fit.format == "vmalert" else []


def thresholds(fit: Fit) -> str:
    """The shipped thresholds, evaluated as often as the rules that read them."""
    text = _shipped("prometheus", "rules", THRESHOLDS)
    step = fit.placeholders()["latency_step" if fit.format == "vmalert" else "step"]  # there each is a query over HTTP
    return text.replace("    interval: 5s\n", f"    interval: {step}\n")


def _rules(own: Mapping[str, str], fit: Fit) -> dict[str, str]:
    texts = {**own, **(vmalert.rule_files(fit) if fit.format == "vmalert" else generate(fit))}
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
    scraping = (
        {"victoriametrics/scrape_config.yml": vmalert.scrape_config(fit)}
        if fit.format == "vmalert"
        else {"prometheus/scrape_config.yml": snippets.scrape_config(fit)}
    )
    return {**scraping, "alertmanager/route.yml": snippets.route(shipped), **templates}


def _shipped_dashboard() -> str:
    return _shipped("grafana", "dashboards", "claude-cost.json")


def _shipped(folder: str, *names: str) -> str:
    return bundle.path(folder).joinpath(*names).read_text(encoding="utf-8")
