"""Check what users edit: rules and thresholds by promtool, routing by amtool, prices by their reader.

Checks beyond promtool: the rules use each threshold, and none is set twice.
"""

from __future__ import annotations

import difflib
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter import bounded_files, bundle, toolchain, yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.pricing import price_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SERIES = "anthropic_threshold"
_LABELS = ("threshold", "feature", "model")
_ASKED_FOR = re.compile(r'anthropic_threshold\{[^}]*?threshold="(\w+)"')
_LINT = ("--lint=all", "--lint-fatal")
_PLACE = re.compile(
    r"^(?P<file>[^\s:]+\.\w+): ?(?:yaml: (?:unmarshal errors:)?\s*line )?(?P<line>\d+)(?::\d+)?: (?P<text>.*)"
)
_YAML_LINE = re.compile(r"\byaml: (?:unmarshal errors:\s*)?line (\d+): ")
_PATIENCE_SECONDS = 120


class Finding(NamedTuple):
    """One mistake: the file, its line (0 if unknown) and what is wrong."""

    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        """As editors and CI systems read it."""
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def prometheus(folder: Path) -> list[Finding]:
    """Findings in `prometheus.yml` of a folder and the rules that it names, or in a folder of rules alone.

    Raises:
        ConfigurationError: the folder holds neither `prometheus.yml` nor rules, or promtool is missing.
    """
    main = folder / "prometheus.yml"
    if main.is_file():
        command = ["check", "config", *_LINT, str(main)]
    else:
        command = ["check", "rules", *_LINT, *map(str, _existing_rules(folder))]
    promtool = toolchain.provide(["promtool"])["promtool"]
    own = thresholds(folder)
    others = [
        finding
        for finding in _failures(_output([str(promtool), *command]), main if main.is_file() else folder)
        if not (own and f"Metric: {_SERIES} " in finding.text)
    ]
    return [*own, *others]


def thresholds(folder: Path) -> list[Finding]:
    """Findings in the thresholds of the rules in a folder that promtool cannot see."""
    files = rule_files(folder)
    known = {name for file in files for name in _ASKED_FOR.findall(_text(file))}
    first: dict[tuple[str, ...], str] = {}
    used = known | _used_by_what_is_left_out(files)
    found = [one for file in files for rule in _threshold_rules(file) for one in _judged(file, rule, used, first)]
    missing = sorted(name for name in known if (name, "", "") not in first)
    where = next((file for file in files if file.name == "thresholds.yml"), folder / "rules" / "thresholds.yml")
    return found + [Finding(where, 0, f"threshold {name} has no default: its alert cannot fire") for name in missing]


def _used_by_what_is_left_out(files: Iterable[Path]) -> set[str]:
    """Thresholds of shipped rule files that a folder does not have: `export --without` leaves the thresholds in."""
    names = {file.name for file in files}
    left_out = [file for file in rule_files(bundle.path("prometheus")) if file.name not in names]
    return {name for file in left_out for name in _ASKED_FOR.findall(file.read_text(encoding="utf-8"))}


def rule_files(folder: Path) -> list[Path]:
    """The rule files of a folder: those below `rules/`, or those in the folder itself."""
    inner = folder / "rules"
    found = sorted((inner if inner.is_dir() else folder).glob("*.yml"))
    return [file for file in found if file.name not in ("prometheus.yml", "alertmanager.yml")]


def _text(file: Path) -> str:
    return bounded_files.read_bytes(file, bounded_files.MOST_JSON_BYTES).decode(errors="replace")


def _existing_rules(folder: Path) -> list[Path]:
    files = rule_files(folder)
    if not files:
        raise ConfigurationError(f"{folder}: neither prometheus.yml nor rule files (rules/*.yml or *.yml)")
    return files


def alertmanager(folder: Path) -> list[Finding]:
    """Findings in the configurations and templates of a folder.

    Raises:
        ConfigurationError: `alertmanager.yml` or amtool is missing.
    """
    _existing(folder / "alertmanager.yml")
    amtool = toolchain.provide(["amtool"])["amtool"]
    files = sorted(folder.glob("*.yml"))
    for file in files:  # amtool would wait for a FIFO
        _text(file)
    return [one for file in files for one in _failures(_output([str(amtool), "check-config", str(file)]), file)]


def prices(files: Iterable[Path]) -> list[Finding]:
    """The first mistake of each price file.

    Raises:
        ConfigurationError: a file is missing.
    """
    found = []
    for file in map(_existing, files):
        try:
            price_file.read(file)
        except ConfigurationError as error:
            place = re.match(rf"{re.escape(str(file))}:(?:(\d+):)? ?", str(error))
            line = int(place[1] or 0) if place else 0
            found.append(Finding(file, line, str(error)[place.end() if place else 0 :]))
    return found


def _existing(file: Path) -> Path:
    if not file.exists():
        raise ConfigurationError(f"{file}: no such file")
    return file


def _threshold_rules(file: Path) -> Iterator[Any]:
    """The rules that set thresholds; none for a file that is not YAML, which promtool reports."""
    try:
        groups = yaml_with_lines.load(file).get("groups")
    except ConfigurationError:
        return
    for group in groups if isinstance(groups, list) else ():
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict) and rule.get("record") == _SERIES:
                yield rule


def _judged(file: Path, rule: Any, known: set[str], first: dict[tuple[str, ...], str]) -> Iterator[Finding]:
    labels = rule.get("labels")
    if not isinstance(labels, yaml_with_lines.Mapping) or not labels.get("threshold"):
        yield Finding(file, rule.lines["record"], f"{_SERIES} needs a label `threshold` that names it")
        return
    name, line = str(labels["threshold"]), labels.lines["threshold"]
    if name not in known:
        yield Finding(file, line, f"no rule uses a threshold {name!r}{_nearest(name, known)}")
    for label in labels.keys() - set(_LABELS):
        yield Finding(file, labels.lines[label], f"a threshold has no label {label!r}; it can have feature and model")
    key = tuple(str(labels.get(label, "")) for label in _LABELS)
    if key in first:
        yield Finding(file, line, f"{_described(key)} is defined twice; the first definition is in {first[key]}")
    first.setdefault(key, f"{file.name}:{line}")


def _described(key: tuple[str, ...]) -> str:
    name, feature, model = key
    of = " and ".join(f"{label} {value}" for label, value in (("feature", feature), ("model", model)) if value)
    return f"threshold {name} of {of}" if of else f"the default of threshold {name}"


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 -- a tool of the toolchain on files that were named
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{command[0]} cannot run: {error}") from error
    return "" if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"


def _failures(output: str, file: Path) -> list[Finding]:
    """The text after each `FAILED:` up to an empty line, as promtool and amtool both write it."""
    blocks = re.findall(r"FAILED:(.*?)(?:\n\s*\n|\nChecking |\Z)", output, re.DOTALL)
    texts = list(dict.fromkeys(line for block in blocks for line in _lines(block)))
    if output and not texts:
        texts = [" ".join(output.split())]
    return [_placed(text, file) for text in texts]


def _lines(block: str) -> list[str]:
    """Return one text per finding: a line that begins with file and line is one finding, any other block is one."""
    lines = [line.strip() for line in block.strip().splitlines()]
    lines = [line for line in lines if not line.startswith("amtool: error")]
    return lines if all(_PLACE.match(line) for line in lines) else [" ".join(lines)]


def _placed(text: str, file: Path) -> Finding:
    if place := _PLACE.match(text):
        return Finding(Path(place["file"]), int(place["line"]), place["text"])
    line = _YAML_LINE.search(text)
    return Finding(file, int(line[1]) if line else 0, text)
