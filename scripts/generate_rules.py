"""Write prometheus/rules from the generator in the package; `--check` exits 1 if a file would change.

`thresholds.yml` is not generated: users edit it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from anthropic_exporter.rules import Fit, generate

RULES = Path(__file__).resolve().parent.parent / "prometheus" / "rules"


def main() -> int:
    """Write the rule files, or list those that differ."""
    check = "--check" in sys.argv[1:]
    written = {RULES / name: text for name, text in generate(Fit()).items()}
    stale = [path for path, text in written.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.name}: {'differs from what scripts/generate_rules.py writes' if check else 'written'}")
        if not check:
            path.write_text(written[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
