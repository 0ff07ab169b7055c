"""The application that every server of this folder runs: one call to Claude a request, and a route with /metrics."""

from __future__ import annotations

GUNICORN = """
    import os
    from anthropic_exporter import Recorder, metrics_app, serve

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))
    own = metrics_app(recorder)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/metrics":
            return own(environ, start_response)
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        if environ["PATH_INFO"] == "/hang":
            import time
            time.sleep(600)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [str(os.getpid()).encode()]
"""

UVICORN = """
    import os
    from contextlib import asynccontextmanager
    from anthropic_exporter import Recorder, metrics_app, serve
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    recorder = Recorder()

    @asynccontextmanager
    async def lifespan(app):
        with serve(recorder, port=int(os.environ["METRICS_PORT"])):
            yield

    async def ask(request):
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        return PlainTextResponse(str(os.getpid()), headers={"Connection": "close"})

    app = Starlette(routes=[Mount("/metrics", metrics_app(recorder)), Route("/{path:path}", ask)], lifespan=lifespan)
"""

ALONE = """
    import os, signal, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    class Ask(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/metrics":
                usage = {"input_tokens": 1000, "output_tokens": 7}
                recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(os.getpid()).encode())

    if os.environ["SIGTERM"] == "handled":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Ask).serve_forever()
"""

UVICORN_AT_IMPORT = """
    import asyncio, os
    from anthropic_exporter import Recorder, metrics_app, serve
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    def count():
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")

    async def ask(request):
        count()
        return PlainTextResponse(str(os.getpid()), headers={"Connection": "close"})

    async def slow(request):
        for _ in range(30):  # begins before the server is asked to stop, and ends after
            await asyncio.sleep(0.02)
            count()
        return PlainTextResponse("30", headers={"Connection": "close"})

    routes = [Mount("/metrics", metrics_app(recorder)), Route("/slow", slow), Route("/{path:path}", ask)]
    app = Starlette(routes=routes)
"""

MULTIPROCESSING = """
    import multiprocessing, os, sys
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    handle = serve(recorder, port=int(os.environ["METRICS_PORT"]))

    def work(number):
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        return os.getpid()

    if __name__ == "__main__":
        work(0)
        with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
            pids = pool.map(work, range(30), chunksize=1)
        print(len(set(pids)), flush=True)
        sys.stdin.readline()
"""

DAEMON = """
    import os, sys, time
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    def work():
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")

    work()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(3, 1024)
    os.chdir("/")
    for _ in range(2):
        work()
    time.sleep(60)
"""

CELERY = """
    import os
    from celery import Celery
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    app = Celery("jobs", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    @app.task(soft_time_limit=1)
    def ask(seconds=0):
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        if seconds:
            import time
            time.sleep(seconds)
        return os.getpid()
"""

DJANGO = """
    import os, sys
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.core.management.base import BaseCommand
    from django.http import HttpResponse
    from django.urls import path
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    def ask(request=None):
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        return HttpResponse(str(os.getpid()))

    urlpatterns = [path("", ask)]
    settings.configure(DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", INSTALLED_APPS=[])

    if __name__ == "__main__":
        if sys.argv[1] == "nightly":  # what a management command does
            ask()
        else:
            execute_from_command_line(sys.argv)
"""

GUARDED = """
    import os, time
    real, ahead, started = time.time, [0.0], float(os.environ.get("STARTED", 0))
    if "NOON" in os.environ:  # a clock that tests set, before anything of ours reads it
        ahead[0] = float(os.environ["NOON"]) - started
        time.time = lambda: real() + ahead[0]
    from pathlib import Path
    import anthropic
    from anthropic_exporter import Recorder, serve
    from anthropic_exporter.attribution import attribution
    from anthropic_exporter.errors import SpendLimitExceeded
    from anthropic_exporter.guard import Guard, Limits

    NEVER = {"cost_usd_per_minute": 1e9, "total_cost_usd_per_minute": 1e9, "tokens_per_day": 1e12}
    recorder = Recorder()
    limits = Limits.shipped().replace(**NEVER).replace(**eval(os.environ["LIMITS"]))
    guard = Guard(recorder, limits, state_dir=os.environ.get("STATE_DIR"))
    guard.breaker(scope="total", when=["daily_cost"], action="block")
    guard.breaker(scope="feature", when=["request_cost"], action="block")
    serve(recorder, port=int(os.environ["METRICS_PORT"]))
    client = anthropic.Anthropic(
        api_key="sk-ant-test", base_url=os.environ["API"], max_retries=0, middleware=[recorder.middleware()]
    )

    def notify(alert):
        with Path("notifications").open("a") as file:
            file.write(f"{alert.name} {alert.status} {alert.feature}\\n")

    guard.on_alert(notify)

    def call(words="5000"):
        message = [{"role": "user", "content": "Hello"}]
        client.messages.create(model="claude-opus-5-5", max_tokens=int(words), messages=message)

    def ask(words="5000", feature="chat"):
        try:
            with attribution(feature=feature):
                call(words)
        except SpendLimitExceeded as error:
            return f"stopped by {error.reason}"
        return "answered"

    def do(query):
        if query.startswith("open"):
            guard.open_breaker("chat", reason="by hand")
        elif query.startswith("close"):
            guard.close_breaker("chat")
        elif query.startswith("today"):
            return repr(sum(one.usd for one in guard.today()))
        elif query.startswith("role"):
            return guard._part.role
        elif query.startswith("clock"):
            ahead[0] = float(os.environ["NOON"]) - started + float(query.removeprefix("clock"))
        elif query.startswith("alerts"):
            return repr([alert.name for alert in guard.alerts()])
        elif query.startswith("loop"):
            with attribution(feature="agent", task="a task", max_calls=1):
                call(), call()
        elif query.startswith("expensive"):
            return ask("20000", feature="report")
        else:
            return ask(feature=query or "chat")
        return "done"

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [f"{os.getpid()} {do(environ['QUERY_STRING'])}".encode()]
"""

GUARDED_ALONE = (
    GUARDED
    + """
    import sys
    for line in sys.stdin:
        print(do(line.strip()), flush=True)
"""
)

CELERY_CALLS = """
    import os
    import anthropic
    from celery import Celery
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    app = Celery("jobs", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
    serve(recorder, port=int(os.environ["METRICS_PORT"]))

    def client(address):
        return anthropic.Anthropic(
            api_key="sk-ant-test", base_url=address, max_retries=0, middleware=[recorder.middleware()]
        )

    @app.task(soft_time_limit=2)
    def ask(slow):
        message = [{"role": "user", "content": "Hello"}]
        address = os.environ["SLOW" if slow else "QUICK"]
        client(address).messages.create(model="claude-opus-5-5", max_tokens=9, messages=message)
        return "answered"
"""

CELL = """
    from anthropic_exporter import Recorder, serve
    recorder = Recorder()
    handle = serve(recorder, port={port}, live=True)
    recorder.record_usage(model="claude-opus-5-5", usage={{"input_tokens": 1000, "output_tokens": 7}})
"""

MULTIPROC = """
    import os
    from prometheus_client import CollectorRegistry, Counter, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector
    from anthropic_exporter import Recorder, serve

    recorder = Recorder()
    serve(recorder, port=int(os.environ["METRICS_PORT"]))
    own = Counter("own_requests_total", "Requests of the application.")

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
        if environ["PATH_INFO"] == "/metrics":
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
            return [generate_latest(registry)]
        own.inc()
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature="chat")
        return [str(os.getpid()).encode()]
"""
