"""The pages of docs/frameworks as they are written: their files, under their commands, asked over HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.simulator.fake_api import FakeApi
from collectors import Collecting
from deployments.running import Deployment, needs
from documentation.blocks import ROOT, blocks_of
from host.workers import scrape, total, wait_for
from ports import free_port
from queue_engines import Redis

pytest_plugins = ("fixtures_fake_api",)

#: What `django-admin startproject` makes, and the page does not show.
SETTINGS = """
    DEBUG, ROOT_URLCONF, ALLOWED_HOSTS, SECRET_KEY = True, "mysite.urls", ["*"], "test"
    INSTALLED_APPS = ["mysite.apps.MySite"]
"""
URLS = """
    from django.urls import path
    from mysite.views import ask
    urlpatterns = [path("ask", ask)]
"""
WSGI = """
    import os
    from django.core.wsgi import get_wsgi_application
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    application = get_wsgi_application()
"""


class Page:
    """The files of a page in a folder, on a port of their own."""

    def __init__(self, name: Any, folder: Any, api: Any) -> None:
        self.name, self.folder, self.port = name, folder, free_port()
        self.text = (ROOT / name).read_text()
        self.environment = {
            "ANTHROPIC_API_KEY": "sk-ant-test",
            "ANTHROPIC_BASE_URL": api.base_url,
            "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder),
            "METRICS_PORT": str(self.port),
            "PYTHONWARNINGS": "",
        }

    def write(self, number: Any, **replaced: Any) -> None:
        """Write a block into the file that its first line names."""
        text = blocks_of(self.name)[number - 1].text
        for shown, real in {"serve(recorder)": f"serve(recorder, port={self.port})", **replaced}.items():
            text = text.replace(shown, real)
        text = re.sub(r"\b9464\b", str(self.port), text)
        self.put(text.partition("\n")[0].removeprefix("# "), text)

    def put(self, name: Any, text: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def command(self, shown: Any) -> Any:
        """A command of the page, by this Python."""
        assert shown in self.text
        program, *arguments = shown.split()
        return ("-m", program, *arguments)

    def run(self, *arguments: Any) -> Any:
        """A program of the page to its end."""
        environment = os.environ | self.environment
        return subprocess.check_output(
            [sys.executable, *arguments], cwd=self.folder, env=environment, text=True, timeout=120
        )

    def shows(self, feature: Any, calls: Any) -> Any:
        """Wait until the page's /metrics shows exactly so many calls of a feature."""
        return wait_for(
            lambda: total(scrape(self.port), "anthropic_requests_total", f'feature="{feature}"') == calls, 60
        )

    def alive(self, processes: Any) -> Any:
        line = f'anthropic_exporter_workers{{state="alive"}} {processes}.0\n'
        return wait_for(lambda: line in scrape(self.port), 60)


@pytest.fixture
def page(fake_api: FakeApi, tmp_path: Path) -> Any:
    return lambda name: Page(f"docs/frameworks/{name}.md", tmp_path, fake_api)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Any]:
    running = []

    def start(page: Any, *command: Any) -> Any:
        running.append(Deployment(tmp_path, "", command, page.environment))
        return running[-1]

    yield start
    for one in running:
        one.close()


def ask(server: Any, times: Any) -> None:
    """Ask as soon as somebody listens; once each, because every request that arrives is a call."""
    address = ("127.0.0.1", server.port)
    wait_for(lambda: socket.create_connection(address, timeout=1).close() or True, 60)
    for _ in range(times):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ask?question=why", timeout=120) as answer:
            assert answer.read()


@needs("fastapi")
def test_fastapi(page: Any, deployed: Any) -> None:
    page = page("fastapi")
    page.write(1)
    server = deployed(page, *page.command("uvicorn app:app --workers 4"), "--port", "PORT")
    ask(server, 6)
    assert page.shows("ask", 6)
    assert page.alive(4)


HYPERCORN = "hypercorn app:app --workers 4"
GRANIAN = "granian --interface asgi app:app --workers 4 --workers-kill-timeout 5"


@needs("fastapi")
@pytest.mark.parametrize(
    ("shown", "address"),
    [
        pytest.param(HYPERCORN, ("-b", "127.0.0.1:PORT"), marks=needs("hypercorn"), id="hypercorn"),
        pytest.param(GRANIAN, ("--port", "PORT"), marks=needs("granian"), id="granian"),
    ],
)
def test_fastapi_under_other_servers(page: Any, deployed: Any, shown: str, address: Any) -> None:
    page = page("fastapi")
    page.write(1)
    server = deployed(page, *page.command(shown), *address)
    ask(server, 6)
    assert page.shows("ask", 6)
    assert page.alive(4)
    server.restart(stop_by=signal.SIGTERM)  # a deploy
    ask(server, 3)
    assert page.shows("ask", 9)


@needs("flask")
@needs("gunicorn")
def test_flask(page: Any, deployed: Any) -> None:
    page = page("wsgi")
    page.write(1)
    server = deployed(page, *page.command("gunicorn -w 4 app:app"), "-b", "127.0.0.1:PORT", "--no-control-socket")
    ask(server, 6)
    assert page.shows("ask", 6)
    assert page.alive(4)


@needs("django")
@needs("gunicorn")
def test_django(page: Any, deployed: Any) -> None:
    page = page("wsgi")
    for number in (2, 3, 4):
        page.write(number)
    for name, text in {"__init__": "", "settings": SETTINGS, "urls": URLS, "wsgi": WSGI}.items():
        page.put(f"mysite/{name}.py", text)
    server = deployed(page, *page.command("gunicorn -w 4 mysite.wsgi"), "-b", "127.0.0.1:PORT", "--no-control-socket")
    assert page.alive(4)  # before the first request, by `ready`
    ask(server, 6)
    assert page.shows("ask", 6)


@needs("celery")
@needs("redis")
def test_celery(page: Any, deployed: Any, tmp_path: Path) -> None:
    page = page("celery")
    with Redis(tmp_path / "redis") as redis:
        page.write(1, **{"redis://localhost:6379": redis.url})
        deployed(page, *page.command("celery -A tasks worker --concurrency 8"), "--without-gossip", "--without-mingle")
        send = "from tasks import summarise\nprint(len([summarise.delay('a page').get(timeout=90) for _ in range({})]))"
        assert page.run("-c", send.format(1)) == "1\n"
        assert page.alive(2)
        assert page.run("-c", send.format(4)) == "4\n"
        assert page.shows("summarise", 5)


def test_jobs(page: Any) -> None:
    page = page("jobs")
    page.write(1)
    for _ in range(2):
        page.run("nightly.py")
    keeper = (
        "import sys; from anthropic_exporter import Recorder, serve; serve(Recorder(), port=int(sys.argv[1])); input()"
    )
    service = subprocess.Popen(
        [sys.executable, "-c", keeper, str(page.port)],
        cwd=page.folder,
        env=os.environ | page.environment,
        stdin=subprocess.PIPE,
    )
    try:
        assert page.shows("nightly", 2)
        page.run("nightly.py")
        assert page.shows("nightly", 3)
    finally:
        service.communicate(b"\n", timeout=60)


SANDBOX = """
    import sys
    from handler import handler
    for line in sys.stdin:
        print(len(handler({"text": line}, None)["summary"]) > 0, flush=True)
"""


class Sandbox:
    """A process that is frozen whenever no event is there, and that is never told of its end."""

    def __init__(self, page: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "sandbox.py"],
            cwd=page.folder,
            env=os.environ | page.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def handle(self, event: Any) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{event}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "True\n"
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@needs("redis")
def test_lambda(page: Any, tmp_path: Path) -> None:
    """Two sandboxes, frozen between two events and never told of their end."""
    page = page("lambda")
    page.write(1)
    page.put("sandbox.py", SANDBOX)
    with Redis(tmp_path / "redis") as redis, contextlib.ExitStack() as owned:
        page.environment["QUEUE"] = redis.url
        collector = Collecting(redis.url, tmp_path / "state").start()
        owned.callback(collector.kill)
        page.port = int(collector.url.rpartition(":")[2])
        sandboxes = [owned.enter_context(Sandbox(page)) for _ in range(2)]
        for event in range(3):
            for sandbox in sandboxes:
                sandbox.handle(f"event {event}")
        assert page.shows("summarise", 6)
        assert 'anthropic_collector_hosts{state="lost"} 0.0' in scrape(page.port)
