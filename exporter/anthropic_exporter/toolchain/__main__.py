"""`python -m anthropic_exporter.toolchain [NAME ...]`: print where each tool is, unpacking what is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.toolchain.tools import DEFAULT, provide

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(names: Sequence[str]) -> int:
    """Print where each tool is; 2 if one is not available."""
    try:
        for name, path in provide(names or DEFAULT).items():
            sys.stdout.write(f"{name}\t{path}\n")
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
