"""What 20 workers of one host cost the rules, beside one process: they cost by series, and workers share theirs.

    python -m bench.host.rules_of_workers             8 minutes
    python -m bench.host.rules_of_workers --series    the series of both pages alone

Two real Prometheus run the shipped rules at the same time: one scrapes instances that show the page of one process, the
other one as many that show the page of a service of 20 workers. Exit code 1 when series or CPU are more than 1.1 times.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from anthropic_exporter import Recorder, export, serve
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from bench.speed.rules_by_instances import LIFE, Scraper, cores_of_rules, record

#: With 10 instances the rules take 4 % of a core, and the ratio is what else the machine does.
WORKERS, INSTANCES, BAR = 20, 40, 1.1


def worker(port: int, folder: str, shows: str) -> None:
    """Count as a worker of a service; the last one shows the whole."""
    recorder = Recorder(registry=None)
    serve(recorder, port=port, runtime_dir=folder)
    record(recorder)
    if shows:
        sys.stdout.write(recorder.render().decode())


def page(workers: int) -> str:
    """What a service of so many shows."""
    with running.free_ports(1) as (port,):
        pass
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.host.rules_of_workers", "--worker", str(port), folder]
        for _ in range(workers - 1):
            subprocess.run([*command, ""], check=True)
        return subprocess.check_output([*command, "shows"], text=True)


def series_of(text: str) -> int:
    return sum(not line.startswith("#") for line in text.splitlines())


class Instances(ThreadingHTTPServer):
    """All instances behind one port: `/metrics?instance=7`."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers a scrape."""

    server: Instances

    def do_GET(self) -> None:
        number = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["instance"][0]
        body = LIFE.sub(f'life="{number}"', self.server.text).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def cores(pages: list[str], instances: int, warm: float, measured: float) -> list[float]:
    """Cores that the rules use on so many instances of each page, at the same time."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as owned:
        folder = Path(name)
        export.write(export.files(Fit()), folder / "claude")
        scrapers = []
        for number, text in enumerate(pages):
            server = owned.enter_context(contextlib.closing(Instances(text)))
            address = f"127.0.0.1:{server.server_port}"
            scraper = Scraper(folder / f"{number}", address, instances, folder / "claude" / "rules")
            scrapers.append(owned.enter_context(contextlib.closing(scraper)))
        return cores_of_rules(scrapers, warm, measured)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--warm", type=float, default=330.0, help="seconds until the windows are full")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each measurement")
    parser.add_argument("--series", action="store_true", help="compare the series alone")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(int(options.worker[0]), *options.worker[1:])
        return 0
    pages = [page(1), page(WORKERS)]
    one, many = map(series_of, pages)
    ratios = [many / one]
    print(
        f"series: {one:,} of one process, {many:,} of {WORKERS} workers of a host: {ratios[0]:.3f} times (bar: {BAR})"
    )
    if not options.series:
        alone, together = cores(pages, options.instances, options.warm, options.seconds)
        ratios.append(together / alone)
        print(f"rules: {alone:.3f} and {together:.3f} cores on {options.instances}: {ratios[1]:.2f} times (bar: {BAR})")
    return 1 if max(ratios) > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
