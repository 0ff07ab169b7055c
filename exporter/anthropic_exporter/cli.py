"""The entry of the command line: one clear line where the extra that it needs is not installed."""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("click", "rich", "starlette", "uvicorn")


def main() -> None:
    """Run `anthropic-exporter` and exit: 0 done, 1 found or failed something, 2 a wrong argument or file."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        sys.stderr.write(
            f"anthropic-exporter: the command line also needs {', '.join(missing)}: "
            "pip install 'anthropic-exporter[cli]'\n"
        )
        raise SystemExit(2)
    from anthropic_exporter.commands import run  # noqa: PLC0415 - needs the extra

    raise SystemExit(run())


if __name__ == "__main__":
    main()
