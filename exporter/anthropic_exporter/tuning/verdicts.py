"""The team's verdicts on alerts: a small file with one line each, in order of time, which merges in git."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bounded_files, yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.tuning import verdict_lines, whole_file
from anthropic_exporter.tuning.firings import Firing

TRUE, FALSE, MISSED = "true", "false", "missed"
WORDS = (TRUE, FALSE)
_PREFIX = "anthropic"
_HEADER = """\
# Verdicts on alerts, by `anthropic-exporter review`. One line each, in order of time; edit as you like.
# verdict: true (somebody had to act), false (nobody had to), missed (an incident without an alert).
# So that two people's lines merge: echo '{name} merge=union' >> .gitattributes
verdicts:
"""
_MOST_BYTES = yaml_with_lines.MOST_YAML_BYTES
#: More is a mistake; a whole number of 400 digits is not a float either.
_MOST_USD = 1e12
_KEYS = ("id", "at", "alert", "feature", "model", "verdict", "usd", "note")


class Verdict(NamedTuple):
    """One line. `id` is that of the firing, and made of time and feature for an incident that was missed."""

    id: str
    at: str
    verdict: str
    alert: str = ""
    feature: str = ""
    model: str = ""
    usd: float | None = None
    note: str = ""

    @property
    def seconds(self) -> float:
        """The time as Unix seconds."""
        return dt.datetime.fromisoformat(self.at.replace("Z", "+00:00")).timestamp()


NONE = Verdict("", "", "")


def of_firing(firing: Firing, verdict: str, note: str = "") -> Verdict:
    """Make the verdict on a firing."""
    return Verdict(firing.id, iso(firing.start), verdict, firing.alert, firing.feature, firing.model, note=note)


def missed(at: float, feature: str, usd: float | None = None, note: str = "") -> Verdict:
    """Make the verdict on an incident that no alert reported."""
    return Verdict(f"missed-{iso(at)}-{feature}", iso(at), MISSED, feature=feature, usd=usd, note=note)


def iso(at: float) -> str:
    """Format a time as in the file."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(path: Path) -> dict[str, Verdict]:
    """The verdicts by id; of duplicates, the last one. A missing file has none.

    Raises:
        ConfigurationError: naming file and line.
    """
    if not path.exists():
        return {}
    root = yaml_with_lines.load(path)
    entries = root.get("verdicts") or []
    if not isinstance(entries, list):
        raise ConfigurationError(f"{path}:{root.line}: verdicts: expected a list")
    found = [_verdict(path, entry) for entry in entries]
    return {one.id: one for one in found}


def _verdict(path: Path, entry: Any) -> Verdict:
    if not isinstance(entry, yaml_with_lines.Mapping):
        raise ConfigurationError(f"{path}: verdicts: each must be a mapping such as {{id: ..., verdict: true}}")
    where = f"{path}:{entry.line}"
    unknown = sorted(entry.keys() - set(_KEYS))
    if unknown:
        raise ConfigurationError(f"{where}: {unknown[0]}: unknown key; known keys: {', '.join(_KEYS)}")
    word = str(entry.get("verdict", "")).lower()
    if word not in (*WORDS, MISSED):
        raise ConfigurationError(f"{where}: verdict: use true, false or missed")
    return Verdict(
        str(entry.get("id", "")),
        _time(where, entry.get("at")),
        word,
        **{name: str(entry.get(name) or "") for name in ("alert", "feature", "model", "note")},
        usd=_usd(where, entry.get("usd")),
    )


def _time(where: str, value: Any) -> str:
    try:
        if isinstance(value, dt.datetime):
            return iso((value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)).timestamp())
        return iso(dt.datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError) as error:  # the year 1 in another zone
        raise ConfigurationError(f"{where}: at: expected a time such as 2026-11-30T14:00:00Z") from error


def _usd(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST_USD:
        return float(value)
    raise ConfigurationError(f"{where}: usd: expected a number")


def write(path: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Write the whole file, or nothing. What the team wrote into it, such as comments, stays."""
    before = read(path)
    entries = {
        one.id: verdict_lines.VerdictLine((one.at, one.id), f"- {_words(one)}", before.get(one.id) != one)
        for one in verdicts.values()
    }
    kept = verdict_lines.rewritten(bounded_files.read_text(path, _MOST_BYTES), entries) if before else None
    whole_file.write(path, kept or _whole(path, verdicts))


def _whole(path: Path, verdicts: Mapping[str, Verdict]) -> str:
    ordered = sorted(verdicts.values(), key=lambda one: (one.at, one.id))
    text = _HEADER.format(name=path.name) + "".join(f"  - {_words(one)}\n" for one in ordered)
    return text if ordered else text.replace("verdicts:", "verdicts: []")


def _words(verdict: Verdict) -> str:
    kept = {name: getattr(verdict, name) for name in _KEYS if getattr(verdict, name) not in ("", None)}
    parts = [f"{name}: {value if name == 'verdict' else json.dumps(value)}" for name, value in kept.items()]
    return f"{{{', '.join(parts)}}}"


def apply(
    verdicts: Mapping[str, Verdict], firings: Iterable[Firing], marks: Sequence[tuple[str, str]], note: str = ""
) -> dict[str, Verdict]:
    """The verdicts with `marks`: pairs of an id, its beginning or the name of an alert, and a word.

    The name of an alert selects all of its firings without a verdict.

    Raises:
        ConfigurationError: an id or name that no firing of the span has, or a word that is not a verdict.
    """
    known = {one.id: one for one in firings}
    found = dict(verdicts)
    for which, word in marks:
        if word.lower() not in WORDS:
            raise ConfigurationError(f"--mark {which} {word}: use true or false")
        for one in _marked(which, known, verdicts):
            found[one.id] = of_firing(one, word.lower(), note)
    return found


def _marked(which: str, known: Mapping[str, Firing], verdicts: Mapping[str, Verdict]) -> list[Firing]:
    """The firings that a mark is about."""
    name = which.lower().removeprefix(_PREFIX)
    named = [one for one in known.values() if one.alert.lower().removeprefix(_PREFIX) == name]
    if named:
        return [one for one in named if one.id not in verdicts]
    matching = [one for id_, one in known.items() if id_.startswith(which.lower())]
    if len(matching) != 1:
        number = f"{len(matching)} alerts" if matching else "no alert"
        raise ConfigurationError(
            f"--mark {which}: {number} of this time {'have' if matching else 'has'} such an id or name"
        )
    return matching
