"""Finds the shipped rules, routing and dashboards: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from anthropic_exporter.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parents[1]


def path(name: str) -> Path:
    """The folder `prometheus`, `alertmanager`, `grafana` or `docs` of the bundle.

    Raises:
        ConfigurationError: this installation does not have the folder.
    """
    checkout = _PACKAGE.parents[1]
    roots = [checkout] if (checkout / "pyproject.toml").is_file() else []
    for root in (*roots, _PACKAGE / "bundle"):
        if (root / name).is_dir():
            return root / name
    raise ConfigurationError(f"the folder {name!r} of the bundle is missing: reinstall anthropic-exporter")
