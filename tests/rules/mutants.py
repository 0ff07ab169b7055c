"""Change the rules in one place at a time and see whether a test of theirs notices.

    make mutants                                  all mutants of all files; continues where it stopped
    make mutants ARGS='cost cache --jobs 2'       those of two files
    make mutants ARGS='--rule CostSpike'          those of the rules whose name contains a word
    make mutants ARGS='--effort 5000'             without the tests that take longest
    make mutants ARGS='--sample 50'               so many of each file, the same ones each time
    make mutants ARGS='--list'                    what would be changed

Operators, windows, numbers, matchers, label lists, aggregations, `for` and `keep_firing_for` are changed. A mutant that
no test notices is printed, unless equivalent_mutants.yml says why it makes no difference. What was found out is kept in
.mutants, by the text of the changed file and of the test, so that an edit repeats only what it touches.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import functools
import hashlib
import math
import os
import random
import re
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rules import promtool_tests
from rules.promtool_tests import HERE, Case, Yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = ("cost", "tokens", "cache", "budget", "latency", "errors", "meter", "fleet", "reconcile")
SEED = 20261124
KEPT = HERE.parent.parent / ".mutants"
TOKEN = re.compile(
    r"""(?P<matchers>\{[^}]*\})|(?P<string>"[^"]*")|(?P<range>\[[^\]]*\])|(?P<offset>offset\s+\w+)
    |(?P<labels>\b(?:by|on|without|ignoring)\s*\([^)]*\))|(?P<word>[A-Za-z_:][\w:]*)|(?P<number>\d+(?:\.\d+)?)
    |(?P<operator>==|!=|>=|<=|[-+*/%<>])|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
NAME = re.compile(r"[A-Za-z_:][\w:]*")
NAME_PATTERN = re.compile(r'__name__=~"([^"]*)"')
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
OPERATORS = {
    ">": (">=", "<"),
    ">=": (">", "<"),
    "<": ("<=", ">"),
    "<=": ("<", ">"),
    "==": ("!=",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "%": ("/",),
    "=": ("!=",),
    "!=": ("=",),
    "=~": ("!~",),
    "!~": ("=~",),
}
WORDS = {
    "and": ("unless",),
    "or": ("and",),
    "unless": ("and",),
    "sum": ("max",),
    "max": ("min",),
    "min": ("max",),
    "avg_over_time": ("max_over_time",),
    "sum_over_time": ("avg_over_time",),
    "max_over_time": ("min_over_time",),
    "min_over_time": ("max_over_time",),
    "increase": ("rate",),
    "rate": ("increase",),
    "floor": ("ceil",),
}


class Mutant(NamedTuple):
    """One change of one rule; `number` is its place in the file, `text` what `field` becomes."""

    file: str
    number: int
    rule: str
    field: str
    change: str
    text: str | None

    def __str__(self) -> str:
        return f"{self.file} {self.rule}: {self.change}"


class Verdict(NamedTuple):
    """The test that noticed, "" for none; a mutant that is not PromQL any more is no mutant."""

    mutant: Mutant
    caught_by: str
    valid: bool = True


# --- what is changed


def mutants_of(file: str) -> Iterator[Mutant]:
    for number, rule in enumerate(promtool_tests.rules_of(promtool_tests.load(file))):
        name = rule.get("alert") or rule["record"]
        name += "".join(f" {label}" for label in [rule.get("labels", {}).get("alertname")] if label)
        for change, text in changed_expressions(str(rule["expr"])):
            yield Mutant(file, number, name, "expr", change, text)
        for field in ("for", "keep_firing_for"):
            if field in rule:
                yield Mutant(file, number, name, field, f"{field} {rule[field]} doubled", scaled(rule[field], 2))
                yield Mutant(file, number, name, field, f"{field} {rule[field]} dropped", None)


def changed_expressions(expression: str) -> Iterator[tuple[str, str]]:
    for token in TOKEN.finditer(expression):
        for text in alternatives(token.lastgroup or "", token[0]):
            line = expression.count("\n", 0, token.start()) + 1
            column = token.start() - expression.rfind("\n", 0, token.start())
            became = expression[: token.start()] + text + expression[token.end() :]
            yield f"{line}:{column} {token[0]} -> {text or 'nothing'}", became


def alternatives(kind: str, token: str) -> Iterable[str]:
    kinds = {
        "matchers": other_matchers,
        "range": lambda token: [scaled(token, 2), scaled(token, 0.5)],
        "offset": lambda token: [scaled(token, 2), scaled(token, 0.5), ""],
        "labels": fewer_labels,
        "word": lambda token: WORDS.get(token, ()),
        "number": lambda token: [f"{2 * float(token):g}" if float(token) else "1"],
        "operator": OPERATORS.__getitem__,
    }
    return kinds[kind](token) if kind in kinds else ()


def scaled(token: str, factor: float) -> str:
    """`[1h]` becomes `[7200s]`."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    one = re.compile(r"(\d+)([smhd])")

    def all_of(match: re.Match[str]) -> str:
        total = sum(int(number) * seconds[unit] for number, unit in one.findall(match[0]))
        return f"{round(total * factor)}s"

    return re.sub(r"(?:\d+[smhd])+", all_of, token)


def fewer_labels(token: str) -> Iterator[str]:
    before, _, inside = token.partition("(")
    labels = [label.strip() for label in inside.rstrip(")").split(",") if label.strip()]
    for gone in labels:
        yield f"{before}({', '.join(label for label in labels if label != gone)})"


def other_matchers(token: str) -> Iterator[str]:
    found = MATCHER.findall(token)
    for number, (label, operator, value) in enumerate(found):
        options = [None, *((label, other, value) for other in OPERATORS[operator])]
        if "~" in operator:
            parts = value.split("|")
            options += [(label, operator, "|".join(one for one in parts if one != gone)) for gone in parts]
        for option in options:
            kept = [*found[:number], *([option] if option else []), *found[number + 1 :]]
            yield "{" + ", ".join(f'{key}{sign}"{text}"' for key, sign, text in kept) + "}"


# --- who notices


class Bench:
    """Runs the tests of one rules file against its mutants, those that take least and noticed most first."""

    def __init__(self, promtool: Path, file: str, memory: Memory, root: Path, effort: float) -> None:
        self.promtool = promtool
        self.root = root
        self.file = file
        self.memory = memory
        self.noticed: dict[int, list[Case]] = {}
        self.parts: dict[str, set[str]] = {}
        cases = sorted(map(without_annotations, promtool_tests.cases(file)), key=self.effort)
        self.cases = [case for case in cases if self.effort(case) <= effort]
        self.folders = threading.local()

    def failing(self) -> list[str]:
        """Names of the tests that the rules as they are do not pass."""
        document = promtool_tests.load(self.file)
        return [case.name for case in self.cases if self.outcome(document, case) != "missed"]

    def judge(self, mutant: Mutant) -> Verdict:
        """Whether a test notices the mutant; one that asks for nothing that the rule has a part in is not run."""
        document = mutated(mutant)
        name = name_of(promtool_tests.rules_of(document)[mutant.number])
        for case in self.in_order(mutant):
            if name not in self.needed(case):
                continue
            outcome = self.outcome(document, case)
            if outcome == "invalid":
                return Verdict(mutant, "", valid=False)
            if outcome == "caught":
                self.noticed.setdefault(mutant.number, []).insert(0, case)
                return Verdict(mutant, case.name)
        return Verdict(mutant, "")

    def in_order(self, mutant: Mutant) -> list[Case]:
        first = list({case.name: case for case in self.noticed.get(mutant.number, [])[:6]}.values())
        return first + [case for case in self.cases if case not in first]

    def effort(self, case: Case) -> float:
        """A guess at how long a test takes: how many expressions it evaluates."""
        return evaluations(case) * sum(name_of(rule) in self.needed(case) for rule in rules_of(case))

    def needed(self, case: Case) -> set[str]:
        """Names of the rules that what a test asks for is made of."""
        if case.name not in self.parts:
            self.parts[case.name] = needed(case)
        return self.parts[case.name]

    def outcome(self, whole: Yaml, case: Case) -> str:
        document = only(whole, self.needed(case))
        key = digest(document, self.untouched(case))
        if (known := self.memory.get(key)) is None:
            known = self.run(document, case)
            self.memory.put(key, known)
        return known

    def run(self, document: Yaml, case: Case) -> str:
        folder = self.folder(case)
        promtool_tests.write(folder / f"{self.file}.yml", bare(document))
        told = promtool_tests.verdict(self.promtool, folder)
        if "could not parse expression" in told:
            return "invalid"
        return "caught" if told else "missed"

    def folder(self, case: Case) -> Path:
        """Each thread has folders of its own."""
        if not hasattr(self.folders, "of"):
            self.folders.of = {}
            self.folders.root = self.root / f"{self.file}-{threading.get_ident()}"
        if case.name not in self.folders.of:
            folder = self.folders.root / str(len(self.folders.of))
            promtool_tests.prepare(folder, case)
            for path in folder.glob("*.yml"):
                if path.stem != "test":
                    promtool_tests.write(path, only(promtool_tests.parsed(path), self.needed(case)))
            self.folders.of[case.name] = folder
        return self.folders.of[case.name]

    @functools.cache  # noqa: B019 -- a bench lives as long as the program
    def untouched_text(self, name: str) -> str:
        case = next(case for case in self.cases if case.name == name)
        filled = promtool_tests.filled_in(copy.deepcopy(case.test), promtool_tests.defaults())
        files = promtool_tests.with_ledger(case.rules)
        others = [promtool_tests.load(file) for file in files if file != self.file]
        return repr((filled, promtool_tests.thresholds(filled), [only(one, self.needed(case)) for one in others]))

    def untouched(self, case: Case) -> str:
        """What the outcome depends on besides the mutant: the test, the thresholds, and rules of other files."""
        return self.untouched_text(case.name)


def without_annotations(case: Case) -> Case:
    """What an alert says is not a concern of a change to when it says it."""
    test = copy.deepcopy(case.test)
    for item in test.get("alert_rule_test", []):
        item["exp_alerts"] = [{"exp_labels": alert["exp_labels"]} for alert in item["exp_alerts"]]
    return case._replace(test=test)


# --- what a test has to evaluate


def rules_of(case: Case) -> list[Yaml]:
    files = promtool_tests.with_ledger(case.rules)
    return [rule for file in files for rule in promtool_tests.rules_of(promtool_tests.load(file))]


def needed(case: Case) -> set[str]:
    """Names of the alerts and series that a test asks for, and of all that they are made of.

    Thresholds are evaluated all: a change that takes them for each other has to find some.
    """
    rules = rules_of(case)
    asked = [item["alertname"] for item in case.test.get("alert_rule_test", [])]
    asked += [item["expr"] for item in case.test.get("promql_expr_test", [])]
    patterns = NAME_PATTERN.findall(" ".join(asked))
    new = set(NAME.findall(" ".join(asked)))
    new |= {name_of(rule) for rule in rules if any(re.fullmatch(one, name_of(rule)) for one in patterns)}
    found: set[str] = set()
    while new:
        found |= new
        made_of = {name for rule in rules if name_of(rule) in new for name in NAME.findall(str(rule["expr"]))}
        new = (made_of | {rule["alert"] for rule in rules if "alert" in rule and "ALERTS" in made_of}) - found
    return found


def only(document: Yaml, names: set[str]) -> Yaml:
    """A rules file without the rules that have no part in what a test asks for."""
    groups = [
        group | {"rules": [rule for rule in group["rules"] if name_of(rule) in names]} for group in document["groups"]
    ]
    return document | {"groups": groups}


def name_of(rule: Yaml) -> str:
    return str(rule.get("alert") or rule["record"])


class Memory:
    """Outcomes by digest, one a line, kept from one run to the next."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lock = threading.Lock()
        lines = path.read_text(encoding="ascii").splitlines() if path and path.exists() else []
        self.known = dict(line.split(" ") for line in lines)

    def get(self, key: str) -> str | None:
        return self.known.get(key)

    def put(self, key: str, outcome: str) -> None:
        with self.lock:
            self.known[key] = outcome
            if self.path:
                with self.path.open("a", encoding="ascii") as file:
                    file.write(f"{key} {outcome}\n")


def evaluations(case: Case) -> float:
    """How often a test evaluates its rules."""
    items = [*case.test.get("alert_rule_test", []), *case.test.get("promql_expr_test", [])]
    last = max((in_seconds(str(item["eval_time"])) for item in items), default=0)
    return last / in_seconds(case.test.get("evaluation_interval", "5s"))


def in_seconds(duration: str) -> int:
    return int(scaled(duration, 1).rstrip("s"))


def mutated(mutant: Mutant) -> Yaml:
    document = promtool_tests.load(mutant.file)
    rule = promtool_tests.rules_of(document)[mutant.number]
    if mutant.text is None:
        del rule[mutant.field]
    else:
        rule[mutant.field] = mutant.text
    return document


def bare(document: Yaml) -> Yaml:
    return promtool_tests.with_annotations(copy.deepcopy(document), set())


def digest(document: Yaml, rest: str) -> str:
    return hashlib.sha256(f"{bare(document)}{rest}".encode()).hexdigest()[:24]


# --- which of them make no difference


def equivalents() -> list[Yaml]:
    return promtool_tests.parsed(HERE / "equivalent_mutants.yml")["equivalent"]


def excuse(mutant: Mutant) -> Yaml | None:
    """The entry that says why no test can notice this mutant."""
    return next(
        (entry for entry in equivalents() if entry["file"] in (mutant.file, "*") and excused(mutant, entry)), None
    )


def excused(mutant: Mutant, entry: Yaml) -> bool:
    changes = [entry["change"]] if isinstance(entry["change"], str) else entry["change"]
    return fnmatch.fnmatchcase(mutant.rule, entry["rule"]) and any(re.search(one, mutant.change) for one in changes)


def all_mutants(files: Iterable[str]) -> list[Mutant]:
    return [mutant for file in files for mutant in mutants_of(file)]


def sample(file: str, count: int, seed: int) -> list[Mutant]:
    """Some of a file's mutants, the same ones each time."""
    found = [mutant for mutant in mutants_of(file) if not excuse(mutant)]
    return random.Random(seed).sample(found, min(count, len(found)))


def judged(
    promtool: Path, mutants: list[Mutant], jobs: int, memory: Memory, *, check: bool = True, effort: float = math.inf
) -> Iterator[Verdict]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as root, ThreadPoolExecutor(jobs) as pool:
        files = {mutant.file for mutant in mutants}
        benches = {file: Bench(promtool, file, memory, Path(root), effort) for file in files}
        if check and (failing := [name for bench in benches.values() for name in bench.failing()]):
            raise SystemExit(f"these tests fail without any change: {', '.join(failing)}")
        yield from pool.map(lambda mutant: benches[mutant.file].judge(mutant), mutants)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(FILES)}; all, where none is said")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rule", default="", help="only rules whose name contains this")
    parser.add_argument("--effort", type=float, default=math.inf, help="how many expressions a test may evaluate")
    parser.add_argument("--sample", type=int, help="how many mutants of each file")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args()
    wanted = [mutant for mutant in all_mutants(options.files or FILES) if options.rule in mutant.rule]
    if options.sample:
        wanted = [mutant for file in options.files or FILES for mutant in sample(file, options.sample, SEED)]
    listed = [mutant for mutant in wanted if excuse(mutant)]
    wanted = [mutant for mutant in wanted if mutant not in set(listed)]
    if options.list:
        say("\n".join(map(str, wanted)))
        return 0
    return report(wanted, len(listed), options.jobs, options.effort)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report(wanted: list[Mutant], listed: int, jobs: int, effort: float) -> int:
    from anthropic_exporter import toolchain  # noqa: PLC0415 -- only the command looks for tools

    os.environ.update(GOMAXPROCS="1", GOGC="400")  # a process of seconds need not tidy up
    KEPT.mkdir(exist_ok=True)
    caught = missed = invalid = 0
    promtool = toolchain.provide(["promtool"])["promtool"]
    for verdict in judged(promtool, wanted, jobs, Memory(KEPT / "outcomes"), effort=effort):
        caught += bool(verdict.caught_by)
        invalid += not verdict.valid
        if verdict.valid and not verdict.caught_by:
            missed += 1
            say(f"MISSED {verdict.mutant}")
    say(f"{caught} mutants caught, {missed} missed, {listed} listed as equivalent, {invalid} no PromQL and not counted")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
