"""The shipped configuration with other addresses: rules and routing are used as shipped, byte for byte.

Only thresholds can be replaced, explicitly.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ThresholdOverride(NamedTuple):
    """A replacement of one shipped threshold: the default, or the override of one feature."""

    threshold: str
    value: float
    feature: str = ""


class Addresses(NamedTuple):
    """`host:port` of each part; `targets` are the processes to scrape."""

    prometheus: str
    alertmanager: str
    receiver: str
    targets: Sequence[str]


def prometheus(shipped: Path, folder: Path, addresses: Addresses, thresholds: Sequence[ThresholdOverride] = ()) -> Path:
    """Copy the shipped Prometheus configuration to `folder`. Returns the path of its main file.

    Raises:
        ConfigurationError: a threshold that the shipped file does not have.
    """
    shutil.copytree(shipped, folder, dirs_exist_ok=True)
    path = folder / "prometheus.yml"
    config = _load(path)
    for alertmanager in config["alerting"]["alertmanagers"]:
        alertmanager["static_configs"] = [{"targets": [addresses.alertmanager]}]
    targets = {
        "anthropic": list(addresses.targets),
        "prometheus": [addresses.prometheus],
        "alertmanager": [addresses.alertmanager],
    }
    jobs = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    config["scrape_configs"] = [_aimed(job, targets[job["job_name"]]) for job in jobs]
    _dump(path, config)
    if thresholds:
        _overlay(folder / "rules" / "thresholds.yml", thresholds)
    return path


def alertmanager(shipped: Path, folder: Path, addresses: Addresses) -> Path:
    """Copy the shipped Alertmanager configuration to `folder`. Returns the path of its main file."""
    shutil.copytree(shipped, folder, dirs_exist_ok=True)
    path = folder / "alertmanager.yml"
    path.write_text(path.read_text().replace("http://exporter:9464/", f"http://{addresses.receiver}/"))
    return path


def _aimed(job: dict[str, Any], targets: list[str]) -> dict[str, Any]:
    kept = {key: value for key, value in job.items() if key != "static_configs" and not key.endswith("_sd_configs")}
    return kept | {"static_configs": [{"targets": targets}]}


def _overlay(path: Path, thresholds: Sequence[ThresholdOverride]) -> None:
    content = _load(path)
    rules = content["groups"][0]["rules"]
    defaults = {rule["labels"]["threshold"]: rule for rule in rules if set(rule["labels"]) == {"threshold"}}
    for threshold in thresholds:
        if threshold.threshold not in defaults:
            raise ConfigurationError(f"{path.name}: no threshold {threshold.threshold!r}; it has {', '.join(defaults)}")
        default = defaults[threshold.threshold]
        if threshold.feature:
            labels = {"threshold": threshold.threshold, "feature": threshold.feature}
            rules.append(default | {"expr": f"{threshold.value:.12g}", "labels": labels})
        else:
            default["expr"] = f"{threshold.value:.12g}"
    _dump(path, content)


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _dump(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
