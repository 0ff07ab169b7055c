"""The live view: one frame of the story as rich renderables, for terminals of 80 x 24 and more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.console import ConsoleDimensions
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from anthropic_exporter.demo import story
from anthropic_exporter.demo.chart import COLOURS, DIM, MARKS, Chart, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from typing_extensions import Self

    from anthropic_exporter.demo.story import Loss, Picture

_TOKEN_COLOURS = ("green", "red", "yellow", "blue")
_GOOD_HIT_RATIO = 0.8
SMALLEST = ConsoleDimensions(80, 24)
_MOMENTS_SHOWN = 4


class Screen:
    """Draws frames over the whole terminal, and restores it at the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def show(self, picture: Picture) -> None:
        """Draw one frame."""
        self._live.update(frame(picture), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._live.stop()


def frame(picture: Picture) -> Layout:
    """The whole frame."""
    middle = Layout(size=7)
    middle.split_row(
        Layout(_panel(_features(picture), "by feature"), ratio=9),
        Layout(_panel(_tokens(picture), "tokens a minute"), ratio=7),
    )
    whole = Layout()
    whole.split_column(
        Layout(_heading(picture), size=1),
        Layout(
            _panel(
                Chart(picture),
                f"dollars per minute, over 30 s, log scale · threshold {picture.threshold_usd_per_minute:.2f}",
            ),
            ratio=2,
        ),
        middle,
        Layout(_panel(_happened(picture), "what happened"), size=7),
        Layout(_links(picture), size=2),
    )
    return whole


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(content, title=title, title_align="left", border_style=DIM, padding=(0, 1))


def _heading(picture: Picture) -> Table:
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    left = Text.assemble(
        (" anthropic-exporter ", "bold"),
        (f" {picture.phase} ", f"bold white on {COLOURS[picture.phase]}"),
        (f"  {picture.usd_per_minute:.2f} USD a minute", f"bold {COLOURS[picture.phase]}"),
    )
    line.add_row(left, Text(f"{_clock(picture.now)} of {_clock(picture.planned)} ", DIM))
    return line


def _features(picture: Picture) -> Table:
    rows = Table.grid(padding=(0, 1, 0, 0), expand=True)
    rows.add_column(no_wrap=True)
    rows.add_column(justify="right")
    rows.add_column(justify="right")
    rows.add_column(ratio=1)
    rows.add_column(justify="right")
    rows.add_row("", *(Text(word, DIM) for word in ("calls", "USD", "", "cache")))
    most = max([1.0, *(feature.usd_per_minute for feature in picture.features)])
    for feature in picture.features:
        colour = COLOURS[picture.phase] if feature.name == picture.broken_feature else COLOURS[story.CALM]
        rows.add_row(
            Text(feature.name, "bold"),
            f"{feature.requests_per_minute:.0f}",
            f"{feature.usd_per_minute:.2f}",
            Bar(most, 0, feature.usd_per_minute, color=colour),
            _share(feature.hit_ratio),
        )
    return rows


def _tokens(picture: Picture) -> Table:
    rows = Table.grid(padding=(0, 1, 0, 0), expand=True)
    rows.add_column(no_wrap=True)
    rows.add_column(justify="right", min_width=6)
    rows.add_column(ratio=1)
    most = max([1.0, *picture.tokens.values()])
    for (name, number), colour in zip(picture.tokens.items(), _TOKEN_COLOURS, strict=True):
        rows.add_row(name, story.amount(number), Bar(most, 0, number, color=colour))
    rows.add_row("cache hits", _share(picture.hit_ratio), Text(_history(picture), "green"))
    return rows


def _share(ratio: float | None) -> Text:
    if ratio is None:
        return Text("-", DIM)
    return Text(f"{100 * ratio:.0f} %", "green" if ratio >= _GOOD_HIT_RATIO else "bold red")


def _history(picture: Picture, steps: int = 14) -> str:
    """The hit ratio over the run, oldest first; a step without requests is blank."""
    length = max(picture.now, 1.0) / steps
    found: list[list[bool]] = [[] for _ in range(steps)]
    for at, hit in picture.hits:
        found[min(steps - 1, int(at / length))].append(hit)
    return sparkline([sum(step) / len(step) if step else 0.0 for step in found])


def _happened(picture: Picture) -> Table:
    rows = Table.grid(padding=(0, 1, 0, 0))
    for moment in picture.moments[-_MOMENTS_SHOWN:]:
        mark, style = MARKS.get(moment.kind, ("·", DIM))
        rows.add_row(Text(mark, style), Text(f"{moment.at:5.1f} s", DIM), Text(moment.text, no_wrap=True))
    if picture.loss:
        rows.add_row(Text("$", "bold red"), Text("so far", DIM), Text(lost(picture.loss), "bold"))
    return rows


def lost(loss: Loss) -> str:
    """The dollars lost so far beside those until a daily report."""
    return (
        f"{loss.usd:.2f} USD lost in {loss.requests:,} requests; until a daily report: {loss.until_report_usd:,.0f} USD"
    )


def _links(picture: Picture) -> Table:
    rows = Table.grid(padding=(0, 2, 0, 0))
    shown = [Text.assemble((f" {name} ", DIM), (url, f"link {url}")) for name, url in picture.links]
    if picture.left_out:
        shown.append(Text(f" skipped: {picture.left_out}", "yellow", no_wrap=True, overflow="ellipsis"))
    for start in range(0, len(shown), 2):
        rows.add_row(*shown[start : start + 2])
    return rows


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
