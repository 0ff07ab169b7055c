"""`serve()`: the recorder's metrics, the live page and the remedies' webhook behind one port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.routes import Route
from anthropic_exporter.web.server import Server

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
) -> Server:
    """Serve the recorder's metrics in a daemon thread.

    `/metrics` answers in Prometheus text or OpenMetrics by `Accept`, gzipped where accepted; `/-/healthy` says that the
    process lives; `/` is a landing page.

    Args:
        recorder: what to show.
        port: TCP port; 0 picks a free one.
        host: address to bind; only this machine can connect unless another is given.
        routes: what else to serve.
        live: serve `/live` too, a page that shows spend as it happens.
        guard: whose open alerts and breakers the page shows.
        remedies: take Alertmanager's webhook at `/alerts` for them; they need a token file for it.
        web_config: a web configuration file as Prometheus' exporter-toolkit reads it: TLS, client certificates,
            passwords and tokens for every route.
        allowed_hosts: names by which clients reach this server, without ports, beside localhost, 127.0.0.1, [::1] and
            the address it is bound to. Bound to an address that others reach, it answers to any name unless some are
            given.

    Raises:
        ConfigurationError: the port is taken or not allowed, the address is not one of this machine, two routes
            want the same path, or the web configuration file holds a mistake.
    """
    owned = contextlib.ExitStack()
    try:
        mounted = [*routes, *(_live(recorder, guard, owned) if live else ())]
        mounted += remedies.routes() if remedies is not None else ()
        return Server(recorder, host, port, mounted, owned, web_config=web_config, allowed_hosts=allowed_hosts)
    except BaseException:
        owned.close()
        raise


def _live(recorder: Recorder, guard: Guard | None, owned: contextlib.ExitStack) -> tuple[Route, ...]:
    from anthropic_exporter.live import Live, guard_view  # noqa: PLC0415 - only those who ask for the page load it

    page = Live(recorder, None if guard is None else guard_view.of(guard))
    owned.callback(page.close)
    return page.routes
