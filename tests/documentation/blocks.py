"""The Python blocks of README and docs, and what a test has to give each of them to run it as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
_BLOCK = re.compile(r"^(?P<indent> *)```python\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of Python: its page, its number on that page from 1, the line where it begins, and its text."""

    page: str
    number: int
    line: int
    text: str

    @property
    def name(self) -> str:
        """Such as docs/guard.md#2."""
        return f"{self.page}#{self.number}"


def blocks_of(page: str) -> list[Block]:
    """All Python blocks of a page, those in lists too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, number, text.count("\n", 0, found.start("text")) + 1, textwrap.dedent(found["text"]))
        for number, found in enumerate(_BLOCK.finditer(text), 1)
    ]


def all_blocks() -> list[Block]:
    """Every Python block that a reader of this project may paste."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("alertmanager/**/*.md")]
    return [block for page in sorted(pages) for block in blocks_of(str(page.relative_to(ROOT)))]
