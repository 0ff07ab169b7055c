"""The bundle's rules, and the programs of Prometheus and Alertmanager that judge them."""

from __future__ import annotations

from pathlib import Path

import pytest

from anthropic_exporter import toolchain
from anthropic_exporter.errors import ConfigurationError


def provided(name: str) -> Path:
    try:
        return toolchain.provide([name])[name]
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def promtool() -> Path:
    return provided("promtool")


@pytest.fixture(scope="session")
def amtool() -> Path:
    return provided("amtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return provided("prometheus")
