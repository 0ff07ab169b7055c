"""The manual as web pages: the runbooks and the documentation that ship with the package, for links in alerts.

`/runbooks/NAME` is what `runbook_url` of an alert opens, so that a page works without a public address.
"""

from __future__ import annotations

import functools
import html
import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from anthropic_exporter import bundle
from anthropic_exporter.web.routes import Answer, Request, Route

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_HTML = "text/html; charset=utf-8"
#: No script, no foreign content: the pages are text.
_POLICY = (
    "Content-Security-Policy",
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
)
#: Folders below `docs`, and the paths of their pages.
_FOLDERS = (("runbooks", "/runbooks"), ("frameworks", "/docs/frameworks"), ("", "/docs"))
_TITLES = {
    "/runbooks": "what an alert means and what to do",
    "/docs/frameworks": "the lines for your framework",
    "/docs": "the documentation",
}
_IMAGE = re.compile(r'<img [^>]*alt="(?P<text>[^"]*)"[^>]*>')
_LINK = re.compile(r'<a href="(?P<target>[^"#:]*\.md)(?P<anchor>#[^"]*)?">(?P<text>.*?)</a>', re.DOTALL)


def routes() -> tuple[Route, ...]:
    """`/runbooks`, `/docs` and one route a page, with and without `.md`.

    Raises:
        ConfigurationError: this installation does not have the manual.
    """
    docs = bundle.path("docs")
    return tuple(route for folder, path in _FOLDERS for route in _folder(docs, folder, path))


def _folder(docs: Path, folder: str, path: str) -> Iterator[Route]:
    pages = sorted((docs / folder).glob("*.md"))
    titles = {page.stem: _title(page) for page in pages}
    index = "".join(f'<li><a href="{path}/{name}">{html.escape(title)}</a></li>' for name, title in titles.items())
    heading = path.rpartition("/")[2].capitalize()
    yield Route(path, _answering(heading, f"<h1>{heading}</h1><ul>{index}</ul>"), title=_TITLES[path])
    for page in pages:
        handle = functools.partial(_page, page, folder, titles[page.stem])
        yield Route(f"{path}/{page.stem}", handle)
        yield Route(f"{path}/{page.name}", handle)


def _title(page: Path) -> str:
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").strip() or page.stem


def _page(page: Path, folder: str, title: str, _: Request) -> Answer:
    return _answer(title, _rendered(page, folder))


@functools.cache
def _rendered(page: Path, folder: str) -> str:
    text = _IMAGE.sub(r"<em>\g<text></em>", _markdown().render(page.read_text(encoding="utf-8")))
    return _LINK.sub(functools.partial(_linked, folder), text)


@functools.cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - of the extra `cli`, loaded by the first page

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _linked(folder: str, link: re.Match[str]) -> str:
    """A link between pages, by the routes; a link to a file outside of the manual becomes its text."""
    target = Path(os.path.normpath(Path(folder) / link["target"]))
    path = dict(_FOLDERS).get(str(target.parent).removeprefix("."))
    if path is None:
        return link["text"]
    return f'<a href="{path}/{target.stem}{link["anchor"] or ""}">{link["text"]}</a>'


def _answering(title: str, body: str) -> functools.partial[Answer]:
    return functools.partial(lambda answer, _: answer, _answer(title, body))


def _answer(title: str, body: str) -> Answer:
    page = _PAGE.replace("TITLE", html.escape(title)).replace("BODY", body)
    return Answer(HTTPStatus.OK, _HTML, page.encode(), (_POLICY,))


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>TITLE</title>
<style>
body { font: 16px/1.6 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; padding: 0 1rem; color: #1a1a1a }
h1 { line-height: 1.2 } h2 { margin-top: 2rem; border-bottom: 1px solid #ddd }
code { font: 14px/1.5 ui-monospace, monospace; background: #f4f4f4; padding: .1em .3em; border-radius: 3px }
pre { background: #f4f4f4; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 4px }
pre code { padding: 0 }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { border: 1px solid #ddd; padding: .3rem .6rem }
a { color: #0b57d0 } nav { font-size: 14px }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e6e6e6 } code, pre { background: #242424 } td, th, h2 { border-color: #444 }
  a { color: #8ab4f8 }
}
</style>
</head>
<body>
<nav><a href="/runbooks">Runbooks</a> · <a href="/docs">Documentation</a></nav>
BODY
</body>
</html>
"""
