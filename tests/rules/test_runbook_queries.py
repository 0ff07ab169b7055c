"""The queries of the runbooks, asked of a real Prometheus that scrapes a recorder."""

from __future__ import annotations

import re
import time
import urllib.error
from pathlib import Path

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens, serve, stack

pytestmark = pytest.mark.stack

PAGES = Path(__file__).resolve().parent.parent.parent / "docs" / "runbooks"
QUERIES = [
    (path.stem, query.strip())
    for path in sorted(PAGES.glob("*.md"))
    for query in re.findall(r"```promql\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
]
CALL = Call(
    "claude-opus-5-5",
    feature="chat",
    user="acme",
    inferences=(Inference("claude-opus-5-5", Tokens(input=100, cache_write_5m=20_000, output=300)),),
    duration_seconds=2.0,
    cache_asked=True,
)
# what there is as soon as one feature has called for some seconds
ANSWERED = {
    "AnthropicCacheMissRateHigh",
    "AnthropicCacheMissWaste",
    "AnthropicCostRateHigh",
    "AnthropicErrorRateHigh",
    "AnthropicRuleEvaluationSlow",
    "AnthropicTokenSpike",
}


def asked(running):
    """Pages with a query that is answered with something, and the queries that are refused."""
    answered, refused = set(), {}
    for page, query in QUERIES:
        try:
            if running.query(query):
                answered.add(page)
        except urllib.error.HTTPError as error:
            refused[page] = query, error.read()
    return answered, refused


def test_every_query_is_answered_and_those_about_what_is_there_with_something():
    recorder = Recorder(registry=None)
    with serve(recorder, port=0) as server, stack.start([f"127.0.0.1:{server.port}"]) as running:
        answered: set[str] = set()
        deadline = time.monotonic() + 90
        while not answered >= ANSWERED and time.monotonic() < deadline:
            for _ in range(20):
                recorder.record(CALL._replace(started_at=time.time()))
            time.sleep(2)
            answered, refused = asked(running)
            assert refused == {}
    assert len(QUERIES) > 60
    assert answered >= ANSWERED
