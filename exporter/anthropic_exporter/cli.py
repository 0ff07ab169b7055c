"""The entry point of the command line: prints one clear line if the extra `cli` is not installed."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run `anthropic-exporter` and exit: 0 done, 1 found or failed something, 2 a wrong argument or file."""
    if importlib.util.find_spec("click") is None:
        sys.stderr.write("anthropic-exporter: the command line needs click: pip install 'anthropic-exporter[cli]'\n")
        raise SystemExit(2)
    from anthropic_exporter.commands.main import run  # noqa: PLC0415 - needs the extra

    raise SystemExit(run())


if __name__ == "__main__":
    main()
