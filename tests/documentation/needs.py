"""What each block needs beside itself: names that its reader has already, engines, libraries; and what it leads to."""

from __future__ import annotations

from typing import NamedTuple

#: What a page leaves out because its reader has it, in the order in which one needs the other.
LEFT_OUT = {
    "recorder": "from anthropic_exporter import Recorder\nrecorder = Recorder()\n",
    "client": "from anthropic import Anthropic\nclient = Anthropic(middleware=[recorder.middleware()])\n",
    "guard": "from anthropic_exporter.guard import Guard\nguard = Guard(recorder)\n",
    "remedies": (
        "from anthropic_exporter.remedies import Remedies\n"
        'remedies = Remedies(recorder, guard=guard, token_file="alerts-token")\n'
    ),
    "instrumented": "from anthropic_exporter import Recorder, instrument\ninstrumented = instrument(Recorder())\n",
    "job": (
        "def job(client):\n"
        '    message = [{"role": "user", "content": "hello"}]\n'
        '    client.messages.create(model="claude-opus-5-5", max_tokens=9, messages=message)\n'
    ),
}


class Needs(NamedTuple):
    """What a block needs.

    Attributes:
        names: what its reader has already, of `LEFT_OUT`.
        engine: "redis", "alertmanager" or "certificates": a real one in place of the address on the page.
        modules: libraries that it imports and that are not installed everywhere.
        files: blocks that are files of their own beside it; their first line names them.
        then: Python that runs after it, in its namespace, with the helpers of `pasted.py`.
    """

    names: tuple[str, ...] = ()
    engine: str = ""
    modules: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    then: str = ""


APP = ("recorder", "client")
GUARDED = (*APP, "guard")
REMEDIED = (*GUARDED, "remedies")

#: What a recorder shows after a call; the library counts no failure of its own in any block, as `pasted.py` checks.
ONE_CALL = 'one_call(client)\nassert shown("anthropic_requests_total", outcome="success") == 1\n'
RECORD = 'recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1})\n'
ADVISED = f"{RECORD}assert b'anthropic_advice_cost_usd_total' in recorder.render()\n"
WEB = "from fastapi.testclient import TestClient\nweb = TestClient(app)\n"


def counted(feature: str, times: int = 1, **labels: str) -> str:
    """Python that fails unless a feature has exactly so many successful requests."""
    more = "".join(f", {name}={value!r}" for name, value in labels.items())
    return f'assert shown("anthropic_requests_total", feature={feature!r}, outcome="success"{more}) == {times}\n'


INSTRUMENTED = "from anthropic_exporter import Recorder, instrument\nrecorder = Recorder()\ninstrument(recorder)\n"
SENT = 'wait(lambda: shown("anthropic_publish_messages_total", result="sent") >= 1)\n'

NEEDS = {
    "README.md#1": Needs(then='one_call(client)\nassert \'outcome="success",user=""} 1\' in get(port)'),
    "README.md#2": Needs(
        APP,
        then="import asyncio\n"
        'asyncio.run(answer("why?"))\n'
        'assert shown("anthropic_requests_total", feature="summarise", user="acme") == 1',
    ),
    "README.md#3": Needs(APP, then=f"{ONE_CALL}assert '<title>' in get(port, '/live')"),
    "README.md#4": Needs(APP, engine="redis", then=ONE_CALL + SENT),
    "docs/advise.md#1": Needs(then=ADVISED),
    "docs/docker.md#1": Needs(then="assert 'anthropic_exporter_build_info' in get(port)"),
    "docs/first-week.md#1": Needs(then=ADVISED),
    "docs/frameworks/celery.md#1": Needs(
        engine="redis",
        modules=("celery", "redis"),
        then='assert summarise.apply(["a page"]).get()\n' + counted("summarise"),
    ),
    "docs/frameworks/fastapi.md#1": Needs(
        modules=("fastapi",),
        then=f'{WEB}assert web.get("/ask", params={{"question": "why?"}}).json()\n' + counted("ask"),
    ),
    "docs/frameworks/fastapi.md#2": Needs(
        modules=("fastapi",), then=f'{WEB}assert "anthropic_exporter_build_info" in web.get("/metrics/").text'
    ),
    "docs/frameworks/fastapi.md#3": Needs(
        modules=("fastapi",),
        then=f'{WEB}assert web.get("/chat", params={{"question": "why?"}}).text\n'
        'assert web.post("/notes", params={"text": "a page"}).status_code == 200\n'
        + counted("chat")
        + counted("notes"),
    ),
    "docs/frameworks/jobs.md#1": Needs(then=counted("nightly")),
    "docs/frameworks/jobs.md#2": Needs(engine="redis", then=counted("nightly") + SENT),
    "docs/frameworks/lambda.md#1": Needs(
        engine="redis", then='assert handler({"text": "a page"}, None)["summary"]\n' + counted("summarise") + SENT
    ),
    "docs/frameworks/llm-libraries.md#1": Needs(
        then="from anthropic import Anthropic\none_call(Anthropic())\n" + counted("")
    ),
    "docs/frameworks/llm-libraries.md#2": Needs(
        ("instrumented",), modules=("langchain_anthropic",), then=counted("translate", 2)
    ),
    "docs/frameworks/llm-libraries.md#3": Needs(
        ("instrumented",), modules=("pydantic_ai",), then=counted("assistant", user="acme")
    ),
    "docs/frameworks/llm-libraries.md#4": Needs(("instrumented",), modules=("instructor",), then=counted("extract")),
    "docs/frameworks/llm-libraries.md#5": Needs(
        modules=("litellm",),
        then='wait(lambda: shown("anthropic_requests_total", feature="translate") == 1)\n'
        'assert shown("anthropic_tokens_total", feature="translate", type="output") > 0',
    ),
    "docs/frameworks/llm-libraries.md#6": Needs(
        modules=("claude_agent_sdk",),
        then=counted("agent") + 'assert shown("anthropic_tokens_total", feature="agent", type="output") > 0',
    ),
    "docs/frameworks/llm-libraries.md#7": Needs(
        then='assert shown("anthropic_cost_usd_total", feature="chat", user="acme") == 0.0116\n' + counted("chat")
    ),
    "docs/frameworks/notebooks.md#1": Needs(then=f"{ONE_CALL}assert '<title>' in get(port, '/live')"),
    "docs/frameworks/notebooks.md#2": Needs(APP, then="assert dollars('experiment 7') > 0"),
    "docs/frameworks/wsgi.md#1": Needs(
        modules=("flask",),
        then='assert app.test_client().get("/ask?question=why").status_code == 200\n' + counted("ask"),
    ),
    "docs/frameworks/wsgi.md#2": Needs(then=ONE_CALL),
    "docs/frameworks/wsgi.md#3": Needs(
        modules=("django",),
        files=("docs/frameworks/wsgi.md#2",),
        then="from django.conf import settings\n"
        "settings.configure()\n"
        "from django.test import RequestFactory\n"
        'assert ask(RequestFactory().get("/ask?question=why")).status_code == 200\n' + counted("ask"),
    ),
    "docs/frameworks/wsgi.md#4": Needs(
        modules=("django",),
        files=("docs/frameworks/wsgi.md#2",),
        then="import mysite\nMySite('mysite', mysite).ready()\nassert 'anthropic_exporter_build_info' in get(port)",
    ),
    "docs/guard.md#1": Needs(
        then="assert guard.alerts() == ()\n"
        "assert [(one.action, one.state) for one in guard.breakers()] == [('observe', 'closed')]"
    ),
    "docs/guard.md#2": Needs(
        GUARDED,
        then="one_call(client)\n"
        "for _ in range(4):\n"
        '    usage = {"input_tokens": 150_000, "output_tokens": 1}\n'
        '    recorder.record_usage(model="claude-opus-5-5", usage=usage, feature="chat")\n'
        "from anthropic_exporter import attribution\n"
        'with attribution(feature="chat"):\n'
        '    assert one_call(client).model == "claude-haiku-5-5"',
    ),
    "docs/limits.md#1": Needs(then='assert shown("anthropic_requests_total", feature="agent") == 0'),
    "docs/live.md#1": Needs(then="assert '<title>' in get(port, '/live')"),
    "docs/processes.md#1": Needs(then="client.base_url = __import__('os').environ['ANTHROPIC_BASE_URL']\n" + ONE_CALL),
    "docs/processes.md#2": Needs(modules=("starlette",), then="assert app.routes[0].path == '/metrics'"),
    "docs/remedies.md#1": Needs(then=ONE_CALL),
    "docs/remedies.md#2": Needs(REMEDIED),
    "docs/remedies.md#3": Needs(REMEDIED),
    "docs/remedies.md#4": Needs(REMEDIED, then="assert paused == set()"),
    "docs/remedies.md#5": Needs(
        REMEDIED, engine="alertmanager", then="assert 'anthropic_exporter_build_info' in get(port)\nremedies.close()"
    ),
    "docs/remedies.md#6": Needs(REMEDIED, then="register(remedies)"),
    "docs/scale.md#1": Needs(engine="redis", then=RECORD + SENT),
    "docs/scale.md#2": Needs(("job",), engine="redis", then=SENT),
    "docs/scale.md#3": Needs(engine="redis", then='wait(lambda: shown("anthropic_guard_fleet_followed") == 0)'),
    "docs/security.md#1": Needs(then="assert 'anthropic_exporter_build_info' in get(port)"),
    "docs/security.md#2": Needs(
        engine="certificates",
        then="import ssl, urllib.request\n"
        "known = ssl.create_default_context(cafile='ca.crt')\n"
        "known.load_cert_chain('client.crt', 'client.key')\n"
        "urllib.request.urlopen(f'https://127.0.0.1:{port}/metrics', timeout=10, context=known).close()",
    ),
}
