"""Whether a text is a regular expression of Prometheus, whose syntax is RE2's.

Source: github.com/google/re2/wiki/Syntax, and what promtool 2.42 accepts, 2026-12-01.
"""

from __future__ import annotations

import re
import warnings

OTHER_SYNTAX = "not of RE2"
#: What Python has and RE2 has not: assertions, conditions, groups that are referred to, possessive operators, escapes.
_ONLY_PYTHON = re.compile(r"\(\?(?:[=!#(>]|<[=!]|P=|[aLux-]*[aLux])|\\[1-9ZuUN]|[*+?}]\+")
#: What RE2 has and Python has not, with something of Python's in its place.
_ONLY_RE2 = (
    (re.compile(r"\\Q(.*?)(?:\\E|$)"), lambda found: re.escape(found[1])),
    (re.compile(r"\[:\^?[a-z]+:\]"), lambda _: "a-z"),
    (re.compile(r"\\[pP](?:\{\^?\w+\}|[CLMNPSZ])"), lambda _: r"\w"),
    (re.compile(r"\\x\{[0-9a-fA-F]+\}"), lambda _: "x"),
    (re.compile(r"\\z"), lambda _: r"\Z"),
    (re.compile(r"\(\?U\)"), lambda _: ""),
)
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_MOST_REPEATED = 1000
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_QUOTED = re.compile(r"\\Q.*?(?:\\E|$)")
_ESCAPED = re.compile(r"\\[\\()\[\]{}*+?|^$.]")


def problem(pattern: str) -> str:
    """Why a text is not a regular expression of RE2; "" if it is one, OTHER_SYNTAX if only Python knows it."""
    plain = _CLASS.sub("x", _ESCAPED.sub("x", _QUOTED.sub("", pattern)))
    counts = [int(one) for found in _REPEATED.findall(plain) for one in found if one]
    if not pattern or _ONLY_PYTHON.search(plain) or any(one > _MOST_REPEATED for one in counts):
        return OTHER_SYNTAX
    for known, of_python in _ONLY_RE2:
        pattern = known.sub(of_python, pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError) as error:
        return str(error)
    return ""
