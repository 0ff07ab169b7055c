"""The runbooks and the documentation as web pages of `anthropic-exporter serve`."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, bundle, serve
from anthropic_exporter.standalone import manual

RUNBOOKS = sorted(page.stem for page in (bundle.path("docs") / "runbooks").glob("*.md"))


@pytest.fixture
def get() -> Iterator[Callable[..., tuple[HTTPMessage, str]]]:
    with serve(Recorder(registry=CollectorRegistry()), port=0, routes=manual.routes()) as server:

        def page(path: str) -> tuple[HTTPMessage, str]:
            with urllib.request.urlopen(server.url + path, timeout=30) as response:
                return response.headers, response.read().decode()

        yield page


def test_the_index_names_every_runbook(get: Callable[..., tuple[HTTPMessage, str]]) -> None:
    _, page = get("/runbooks")
    assert re.findall(r'<li><a href="/runbooks/(\w+)">', page) == RUNBOOKS


def test_a_runbook_is_a_page_with_and_without_its_suffix(get: Callable[..., tuple[HTTPMessage, str]]) -> None:
    headers, page = get("/runbooks/AnthropicCostRateHigh")
    assert "<title>AnthropicCostRateHigh</title>" in page
    assert "<h2>Mitigation</h2>" in page
    assert '<code class="language-promql">topk(5, feature_model:anthropic_cost_usd_per_minute:now)' in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert get("/runbooks/AnthropicCostRateHigh.md")[1] == page


def test_every_link_between_pages_opens_a_page(get: Callable[..., tuple[HTTPMessage, str]]) -> None:
    indexes = [get(path)[1] for path in ("/runbooks", "/docs", "/docs/frameworks")]
    paths = {path for index in indexes for path in re.findall(r'<li><a href="([^"]+)">', index)}
    links = {link for path in paths for link in re.findall(r'<a href="(/[^"#]+)', get(path)[1])}
    assert "/docs/guard" in links
    assert "/docs/frameworks/celery" in links
    assert links <= paths | {"/runbooks", "/docs", "/docs/frameworks"}


def test_nothing_beside_the_pages_is_served(get: Callable[..., tuple[HTTPMessage, str]]) -> None:
    for path in ("/runbooks/../../pyproject.toml", "/docs/runbooks/AnthropicCostRateHigh.md", "/runbooks/nothing"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(path)
        assert refused.value.code == 404
        refused.value.close()


def test_a_page_is_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A <b>page</b>\n\n<script>alert(1)</script>\n\n[out](../../README.md) and [beside](guard.md#limits)\n"
    )
    rendered = manual._rendered(page, "")
    assert "<script>" not in rendered
    assert 'out and <a href="/docs/guard#limits">beside</a>' in rendered
