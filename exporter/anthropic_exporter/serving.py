"""`serve()`: the recorder's metrics, the live page and the remedies' webhook behind one port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.routes import Route
from anthropic_exporter.web.server import Server

if TYPE_CHECKING:
    from anthropic_exporter.guard import Guard
    from anthropic_exporter.remedies import Remedies

_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


def serve(
    recorder: Recorder,
    *,
    port: int = 9464,
    host: str = "127.0.0.1",
    routes: Iterable[Route] = (),
    live: bool = False,
    guard: Guard | None = None,
    remedies: Remedies | None = None,
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

    Raises:
        ConfigurationError: the port is taken or not allowed, the address is not one of this machine, or two routes
            want the same path.
    """
    owned = contextlib.ExitStack()
    try:
        mounted = [*routes, *(_live(recorder, guard, host, owned) if live else ())]
        mounted += remedies.routes() if remedies is not None else ()
        return Server(recorder, host, port, mounted, owned)
    except BaseException:
        owned.close()
        raise


def _live(recorder: Recorder, guard: Guard | None, host: str, owned: contextlib.ExitStack) -> tuple[Route, ...]:
    from anthropic_exporter.live import Live, guard_view  # noqa: PLC0415 - only those who ask for the page load it

    page = Live(recorder, None if guard is None else guard_view.of(guard), local=host in _LOOPBACK_HOSTS)
    owned.callback(page.close)
    return page.routes
