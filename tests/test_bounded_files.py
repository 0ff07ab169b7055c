"""Every kind of file that is not what its reader expects: one clear line, no hang, no crash."""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import ConfigurationError, Recorder, bounded_files, yaml_with_lines
from anthropic_exporter.export import writing
from anthropic_exporter.guard.notifications.notifiers import slack_webhook
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.pricing import price_file
from anthropic_exporter.remedies.polling import Credentials
from anthropic_exporter.remedies.token import Token
from anthropic_exporter.tuning import threshold_file, verdicts
from anthropic_exporter.tuning.backtest import rules
from anthropic_exporter.web import web_config
from support import Clock

READERS: dict[str, Any] = {
    "prices": price_file.read,
    "thresholds": Limits.from_file,
    "token": Token,
    "secret": lambda path: slack_webhook(url_file=path),
    "prompt": bounded_files.read_json,
    "web": web_config.read,
    "password": lambda path: Credentials("alice", path),
    "exported": lambda path: writing.write({path.name: "new"}, path.parent) and pytest.fail("overwritten"),
}
#: Readers of YAML, by what they read.
YAML: dict[str, Callable[[Path], Any]] = {
    "prices": price_file.read,
    "thresholds": Limits.from_file,
    "web": web_config.read,
    "verdicts": verdicts.read,
    "rules": lambda path: list(rules._of_file(path)),
    "overrides": lambda path: threshold_file.edited(path, []),
}


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def large(path: Path) -> Path:
    path.write_bytes(b"#" * 10_000_000)
    return path


def dangling(path: Path) -> Path:
    path.symlink_to(path.with_name("nowhere"))
    return path


def fifo_behind(path: Path) -> Path:
    path.symlink_to(fifo(path.with_name("pipe")))
    return path


KINDS = {
    "fifo": (fifo, "is a FIFO; expected a regular file"),
    "link to a fifo": (fifo_behind, "is a FIFO; expected a regular file"),
    "device": (lambda _: Path("/dev/zero"), "is a device; expected a regular file"),
    "terminal": (lambda _: Path("/dev/tty"), "is a device; expected a regular file"),
    "endless file of the kernel": (lambda _: Path("/proc/self"), "is a directory; expected a regular file"),
    "directory": (lambda path: path.parent, "is a directory; expected a regular file"),
    "socket": (unix_socket, "is a socket; expected a regular file"),
    "large": (large, "is larger than "),
    "missing": (lambda path: path, "cannot be read: No such file"),
    "dangling link": (dangling, "cannot be read: No such file"),
    "NUL in the name": (lambda path: path.with_name("a\0b"), "cannot be read: the path is not valid"),
}


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (reader, kind)
        for reader in READERS
        for kind in KINDS
        if reader != "exported" or KINDS[kind][0] in (fifo, fifo_behind, unix_socket)
    ],
)
def test_a_file_that_is_not_small_and_regular_is_one_line(tmp_path: Path, reader: Any, kind: Any) -> None:
    make, said = KINDS[kind]
    with pytest.raises(ConfigurationError) as caught:
        READERS[reader](make(tmp_path / "given"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["prices", "thresholds", "prompt"])
@pytest.mark.parametrize("opening", ["[", '{"a":', "[{a: ", "- "])
def test_deep_nesting_is_one_line(tmp_path: Path, reader: str, opening: str) -> None:
    path = tmp_path / "deep"
    path.write_text(opening * 20_000)
    with pytest.raises(ConfigurationError, match=r"deep:1: (nested deeper than 64 levels|not JSON)"):
        READERS[reader](path)


def bomb(leaf: Any) -> Any:
    """An inner part of a document that stands for 10^9 values, in 10 lines."""
    parts = [
        f"&a {leaf}",
        *(f"&{one} [{', '.join([f'*{before}'] * 10)}]" for before, one in itertools.pairwise("abcdefghi")),
    ]
    return f"[{', '.join(parts)}]"


BOMBS = {
    "a key": "? {bomb}\n: 1\n",
    "a value": "version: {bomb}\n",
    "a price": "models: {{m: {{prices: [{{input: {bomb}, output: 1}}]}}}}\n",
    "a source": "models: {{m: {{source: {bomb}, prices: []}}}}\n",
    "an expression": "groups: [{{rules: [{{record: anthropic_threshold, labels: {{threshold: x}}, expr: {bomb}}}]}}]\n",
    "a time": "verdicts: [{{id: a, verdict: true, at: {bomb}}}]\n",
    "an interval": "rate_limit: {{interval: {bomb}}}\n",
    "a name": "basic_auth_users: {{? {bomb} : x}}\n",
}


@pytest.mark.parametrize("reader", YAML)
@pytest.mark.parametrize("place", BOMBS)
def test_aliases_that_stand_for_a_billion_values_are_one_line(tmp_path: Path, reader: Any, place: Any) -> None:
    path = tmp_path / "given.yml"
    path.write_text(BOMBS[place].format(bomb=bomb("[x, x, x, x, x, x, x, x, x, x]")))
    with pytest.raises(ConfigurationError, match=r"given\.yml:1: aliases stand for more than 262,144 values"):
        YAML[reader](path)


@pytest.mark.parametrize("text", ["&a [*a]\n", "a: &a {b: *a}\n", "? &a [*a]\n: 1\n"])
def test_an_alias_within_what_it_stands_for_is_one_line(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "given.yml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"given\.yml:1: aliases stand for more than"):
        yaml_with_lines.load(path)


def test_aliases_stay_allowed(tmp_path: Path) -> None:
    path = tmp_path / "prices.yml"
    rates = "{input: 1, output: 2, cache_read: 3, cache_write_5m: 4, cache_write_1h: 5}"
    path.write_text(
        f"models:\n  a: &a {{prices: [{rates}]}}\n" + "".join(f"  m{number}: *a\n" for number in range(100))
    )
    assert price_file.read(path).models["m99"].rows[0].rates.output == 2e-6


@pytest.mark.parametrize("reader", YAML)
@pytest.mark.parametrize(
    "odd", ["x", "5", "[x]", "[[x]]", "{}", "[{name: x, rules: x}]", "[{name: x, rules: 5}]", "[{rules: [a]}]"]
)
@pytest.mark.parametrize("key", ["groups", "verdicts", "models", "basic_auth_users", "tls_server_config", "rate_limit"])
def test_a_value_of_another_type_is_one_line_or_nothing(tmp_path: Path, reader: Any, key: Any, odd: Any) -> None:
    path = tmp_path / "given.yml"
    path.write_text(f"{key}: {odd}\n")
    said = ""
    try:
        YAML[reader](path)
    except ConfigurationError as error:
        said = str(error)
    assert not said or (said.startswith(str(path)) and "\n" not in said)


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("overrides", "groups: [{name: x, rules: [{record: anthropic_threshold, labels: [a], expr: 1}]}]\n"),
        ("rules", f"groups: [{{name: x, rules: [{{alert: y, expr: 1, for: '{'9' * 5000}s'}}]}}]\n"),
        ("verdicts", "verdicts: [{id: a, verdict: true, at: 0001-01-01T00:00:00+14:00}]\n"),
        ("verdicts", f"verdicts: [{{id: a, verdict: true, at: 2026-01-01T00:00:00Z, usd: {'9' * 400}}}]\n"),
        ("verdicts", "verdicts: [{id: a, verdict: true, at: 2026-01-01T00:00:00Z, usd: .nan}]\n"),
    ],
)
def test_odd_numbers_times_and_labels_are_one_line_or_nothing(tmp_path: Path, reader: Any, text: Any) -> None:
    path = tmp_path / "given.yml"
    path.write_text(text)
    if reader == "overrides":
        assert YAML[reader](path) == text
    else:
        with pytest.raises(ConfigurationError, match=r"given\.yml"):
            YAML[reader](path)


@pytest.mark.parametrize("reader", ["prices", "verdicts", "web"])
def test_text_of_a_file_forges_no_second_line_and_controls_no_terminal(tmp_path: Path, reader: Any) -> None:
    path = tmp_path / "given.yml"
    path.write_text('verdicts: [{"a\\e[2J\\nb\\u202e": 1}]\n' if reader == "verdicts" else '"a\\e[2J\\nb\\u202e": 1\n')
    with pytest.raises(ConfigurationError) as caught:
        YAML[reader](path)
    assert r"given.yml:1: a\x1b[2J\nb\u202e: unknown key" in str(caught.value)


@pytest.mark.parametrize("content", ["a\nb\n", "a\0b", "a\x1bb", "", " \n"])
def test_a_token_is_one_word_in_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"token: (expected one token|the token is empty)"):
        Token(path)


def test_deep_indentation_and_long_numbers_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "given.yml"
    path.write_text("".join(f"{' ' * level}a:\n" for level in range(500)))
    with pytest.raises(ConfigurationError, match=r"given\.yml:65: nested deeper than 64 levels"):
        yaml_with_lines.load(path)
    path.write_text("version: 1" + ":1" * 100_000)
    with pytest.raises(ConfigurationError, match=r"given\.yml:1: a value of 200,001 characters"):
        yaml_with_lines.load(path)
    path.write_text(f'{{"max_tokens": {"9" * 5000}}}')
    with pytest.raises(ConfigurationError, match="not valid JSON"):
        bounded_files.read_json(path)


@pytest.mark.parametrize("expression", ["-" * 5000 + "1", "(" * 5000, "1+" * 5000 + "1"])
def test_a_threshold_that_nests_too_deep_is_one_line(tmp_path: Path, expression: str) -> None:
    path = tmp_path / "thresholds.yml"
    rule = f'{{record: anthropic_threshold, labels: {{threshold: x}}, expr: "{expression}"}}'
    path.write_text(f"groups: [{{name: x, rules: [{rule}]}}]")
    with pytest.raises(ConfigurationError, match=r"thresholds\.yml:1: .{10,200}$"):
        Limits.from_file(path)


def test_long_texts_stay_allowed(tmp_path: Path) -> None:
    path = tmp_path / "given.yml"
    path.write_text(f"quoted: '{'x' * 5000}'\nblock: |\n  {'y' * 5000}\n")
    assert {key: len(value) for key, value in yaml_with_lines.load(path).items()} == {"quoted": 5000, "block": 5001}


def test_brackets_inside_of_strings_are_not_nesting(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps({"messages": '["\\' * 1000}))
    assert bounded_files.read_json(path) == {"messages": '["\\' * 1000}


def test_links_are_followed_unless_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert bounded_files.read_text(tmp_path / "link", 10) == "x"
    with pytest.raises(ConfigurationError, match="link: is a symbolic link; expected a regular file"):
        bounded_files.read_text(tmp_path / "link", 10, follow_links=False)


@pytest.mark.parametrize("reader", [price_file.read, lambda path: Recorder(registry=None, prices=path)])
def test_a_name_with_a_nul_is_one_line(tmp_path: Path, reader: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: the path is not valid"):
        reader(tmp_path / "a\0b")


def test_a_file_of_the_kernel_that_has_nothing_to_say_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/kmsg is a regular file whose reader waits; it is not read here, because that takes its lines away."""

    class Silent(io.FileIO):
        def read(self, *_: Any) -> Any:
            return None

    (tmp_path / "kmsg").touch()
    monkeypatch.setattr(os, "fdopen", Silent)
    with pytest.raises(ConfigurationError, match="kmsg: cannot be read: it has no content yet"):
        bounded_files.read_bytes(tmp_path / "kmsg", 10)


def test_a_file_that_hides_its_size_is_still_bounded() -> None:
    with pytest.raises(ConfigurationError, match="is larger than 10 bytes"):
        bounded_files.read_bytes(Path("/proc/self/status"), 10)


def test_an_edit_that_replaces_the_price_file_by_a_fifo_does_not_stop_a_scrape(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "prices.yml"
    path.write_text("models: {}\n")
    recorder = Recorder(registry=None, prices=path, clock=clock)
    path.unlink()
    fifo(path)
    clock.now += 31
    assert b'anthropic_exporter_record_errors_total{stage="prices"} 1.0' in recorder.render() + recorder.render()
