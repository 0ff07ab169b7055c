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
