"""Whether the server that runs this process was asked to stop.

uvicorn ends its process by raising the signal again, with the handler that was there before it: no exit handler runs.
Source: uvicorn 0.54.0, `Server.capture_signals` and `Server.handle_exit` in `server.py`.
"""

from __future__ import annotations

import signal


def is_stopping() -> bool:
    """Whether the handler of SIGTERM belongs to a server that has begun to shut down."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", None) is True
