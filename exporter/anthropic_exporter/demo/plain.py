"""The demo as timed lines, for pipes, CI and small terminals. ASCII only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthropic_exporter.demo.story import amount

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

    from anthropic_exporter.demo.story import Picture

_EVERY_SECONDS = 5.0


class PlainOutput:
    """Prints a line for each event, and the state every 5 s in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._due = 0.0

    def show(self, picture: Picture) -> None:
        """Print the events since the last call."""
        for moment in picture.moments[self._told :]:
            self._say(moment.at, f"{moment.kind:9} {moment.text}")
        self._told = len(picture.moments)
        if picture.now >= self._due:
            self._due = picture.now + _EVERY_SECONDS
            self._say(picture.now, _state(picture))
            self._console.print(f"{'':19} {_tokens(picture)}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Nothing to restore."""

    def _say(self, at: float, text: str) -> None:
        self._console.print(f"{at:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)


def _tokens(picture: Picture) -> str:
    return "tokens/min: " + ", ".join(f"{name} {amount(number)}" for name, number in picture.tokens.items())


def _state(picture: Picture) -> str:
    features = ", ".join(f"{feature.name} {feature.usd_per_minute:.2f}" for feature in picture.features)
    hits = "-" if picture.hit_ratio is None else f"{100 * picture.hit_ratio:.0f} %"
    lost = f", lost {picture.loss.usd:.2f} USD" if picture.loss else ""
    return f"{picture.phase:9} {picture.usd_per_minute:.2f} USD/min ({features}), cache hits {hits}{lost}"
