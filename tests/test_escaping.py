from __future__ import annotations

import pytest

from anthropic_exporter.escaping import for_log, for_slack


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("chat", "chat"),
        ("Zürich 東京", "Zürich 東京"),
        ("a\nERROR root logged in", "a\\nERROR root logged in"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\r\x00\x85\u2028b", "a\\r\\x00\\x85\\u2028b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_log_line_is_one_line_without_control_characters(text: str, line: str) -> None:
    assert for_log(text) == line
    for_log(text).encode()


def test_a_log_line_is_cut() -> None:
    assert for_log("x" * 5000, 10) == "xxxxxxx..."


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a & b", "a &amp; b"),
        ("<!channel>", "&lt;!channel&gt;"),
        ("<https://evil.example|your bank>", "&lt;https:\u2060//evil.example|your bank&gt;"),
        ("@here look", "@\u2060here look"),
        ("*bold* `code`", "*\u2060bold* `\u2060code`"),
        ("claude-opus-5-5 of chat_bot_v2", "claude-opus-5-5 of chat_bot_v2"),
        ("a\nb", "a\\nb"),
    ],
)
def test_slack_gets_text_without_mentions_links_or_formatting(text: str, sent: str) -> None:
    assert for_slack(text) == sent
