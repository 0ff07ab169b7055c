"""Escapes foreign text for its destination: a log line, a Slack message."""

from __future__ import annotations

import re

#: Longer text is cut: a description of the Guard has about 200 characters.
LONGEST_LOGGED = 1_000
_CUT = "..."
# Control characters, among them newlines and ESC; the line and paragraph separators; the marks that reorder text.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# The characters of Slack's markup, and those that it turns into formatting, mentions and links.
_SLACK_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_WORD_JOINER = "\u2060"
_SLACK_MARKUP = re.compile(r"[&<>]|(?<!\w)[*_~`](?=\S)|@(?=\w)|:(?=//)")


def for_log(text: str, longest: int = LONGEST_LOGGED) -> str:
    r"""Return one line without control characters, so that text can neither forge a second line nor control a terminal.

    Letters of every language stay as they are; control characters are written as Python writes them, such as `\n`.
    """
    line = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
    return line if len(line) <= longest else line[: longest - len(_CUT)] + _CUT


def for_slack(text: str, longest: int = LONGEST_LOGGED) -> str:
    """Plain text in Slack's markup: no mention, no link, no formatting (api.slack.com/reference/surfaces/formatting).

    `&`, `<` and `>` become entities; an invisible word joiner breaks what Slack would format or link by itself.
    """
    return _SLACK_MARKUP.sub(_plain_in_slack, for_log(text, longest))


def _plain_in_slack(found: re.Match[str]) -> str:
    return _SLACK_ENTITIES.get(found[0]) or f"{found[0]}{_WORD_JOINER}"
