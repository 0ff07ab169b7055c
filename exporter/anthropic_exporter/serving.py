"""`serve()`: the recorder's metrics, the live page and the remedies' webhook behind one port."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from anthropic_exporter.host.joining import join_port
from anthropic_exporter.host.listen_address import ListenAddress
from anthropic_exporter.host.port import ServiceHandle
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.routes import Route
from anthropic_exporter.web.server import Server, scheme

if TYPE_CHECKING:
    from anthropic_exporter.guard import Guard
    from anthropic_exporter.remedies import Remedies


def serve(  # noqa: PLR0913 - one keyword for each thing to serve
    recorder: Recorder,
    *,
    port: int = 9464,
    host: str = "127.0.0.1",
    routes: Iterable[Route] = (),
    live: bool = False,
    guard: Guard | None = None,
    remedies: Remedies | None = None,
    web_config: str | Path | None = None,
    allowed_hosts: Iterable[str] = (),
    required: bool = False,
    runtime_dir: str | os.PathLike[str] | None = None,
) -> ServiceHandle:
    """Serve the recorder's metrics in a daemon thread.

    Every worker of a service may call this, before or after a fork. One of them listens on the port and shows the
    counts of all; when it ends, another one takes over within a second. A service that starts again continues its
    counters. If another program uses the port, an error is logged, and the server starts when the port is free. If the
    same recorder is served on the same port again, as when a notebook cell is run again, the new handle replaces the
    previous one.

    `/metrics` returns Prometheus text or OpenMetrics depending on `Accept`, compressed if accepted; `/-/healthy`
    returns 200 while the process runs; `/` is a landing page.

    Args:
        recorder: the recorder to show.
        port: TCP port; 0 selects a free one.
        host: address to bind; by default only this machine can connect.
        routes: further routes.
        live: also serve `/live`, a page that shows current spending.
        guard: the Guard whose open alerts and breakers the page shows.
        remedies: remedies that receive Alertmanager's webhook at `/alerts`; they need a token file for it.
        web_config: a web configuration file as Prometheus' exporter-toolkit reads it: TLS, client certificates,
            passwords and tokens for every route.
        allowed_hosts: names by which clients reach this server, without ports, in addition to localhost, 127.0.0.1,
            [::1] and the bound address. If the server is bound to an address that others can reach, any name is
            accepted unless some are given.
        required: raise if another program uses the port.
        runtime_dir: the folder for the counts of the service's processes; by default
            `ANTHROPIC_EXPORTER_RUNTIME_DIR`, otherwise shared memory or the folder for temporary files.

    Raises:
        ConfigurationError: the port is not allowed, or in use with `required`; the address does not belong to this
            machine; two routes have the same path; or the web configuration file is invalid.
    """
    spoken = scheme(web_config)  # every worker finds a mistake at its start, not when it takes the port
    owned = contextlib.ExitStack()
    try:
        mounted = _mounted(recorder, routes, owned, live=live, guard=guard, remedies=remedies)
        member = recorder.membership
        if port:
            member = recorder.membership = join_port(recorder, member, port, runtime_dir)

        def make_server(chosen: int) -> Server:
            return Server(recorder, host, chosen, mounted, owned, web_config=web_config, allowed_hosts=allowed_hosts)

        address = ListenAddress(host, port, spoken)
        handle = ServiceHandle(
            make_server, address, member, owner=recorder, release=owned.close, leave=recorder.publish
        )
        handle.start(required=required)
    except BaseException:
        owned.close()
        raise
    return handle


def serve_alone(
    recorder: Recorder,
    *,
    port: int,
    host: str = "127.0.0.1",
    routes: Iterable[Route] = (),
    live: bool = False,
    web_config: str | Path | None = None,
    allowed_hosts: Iterable[str] = (),
) -> Server:
    """Serve the metrics of this process alone: for programs that are not workers of a service.

    Raises:
        ConfigurationError: as `serve`, and if the port is taken.
    """
    owned = contextlib.ExitStack()
    try:
        mounted = _mounted(recorder, routes, owned, live=live)
        return Server(recorder, host, port, mounted, owned, web_config=web_config, allowed_hosts=allowed_hosts)
    except BaseException:
        owned.close()
        raise


def _mounted(
    recorder: Recorder,
    routes: Iterable[Route],
    owned: contextlib.ExitStack,
    *,
    live: bool,
    guard: Guard | None = None,
    remedies: Remedies | None = None,
) -> list[Route]:
    """All routes in addition to those of every server."""
    page = _live(recorder, guard, owned) if live else ()
    return [*routes, *page, *(remedies.routes() if remedies is not None else ())]


def _live(recorder: Recorder, guard: Guard | None, owned: contextlib.ExitStack) -> tuple[Route, ...]:
    from anthropic_exporter.live import CallFeed, Live, guard_view  # noqa: PLC0415 - only those who ask for the page load it

    page = Live(CallFeed(recorder), None if guard is None else guard_view.of(guard))
    owned.callback(page.close)
    return page.routes
