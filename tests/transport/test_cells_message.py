"""The format of a message: what is written is read, and other versions are understood."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthropic_exporter.transport.cells_message import CellsMessage, Definition, Layout, decode, encode
from anthropic_exporter.transport.container import UnreadableError, pack, unpack
from fleet_messages import SPEED, message, requests
from support import NOON

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = CellsMessage(
    identity="0f8fad5bd9cb469fa16570867728950e",
    epoch=1795262400000000000,
    sequence=7,
    service="api",
    host="web-1",
    sent_at=NOON + 0.5,
    period_seconds=1.0,
    version="0.1.0",
    definitions=(
        requests("chat", "acme"),
        Definition(1, SPEED, ("claude-opus-5-5",), NOON + 0.25),
    ),
    numbers=array("I", [0, 5, 12]),
    values=array("d", [171.0, 2.0, 81.25]),
)

#: What the sender of a host adds.
OF_A_HOST = WRITTEN._replace(lasting=True, replaces=("5f0c1e", "a1b2c3"), full=True, final=True)


@pytest.mark.parametrize("written", [WRITTEN, OF_A_HOST])
def test_what_was_written_is_read(written: CellsMessage) -> None:
    assert decode(encode(written)) == written


def test_the_golden_message_of_a_host_is_read_and_written() -> None:
    golden = (GOLDEN / "cells-1-of-a-host.bin").read_bytes()
    assert (decode(golden), encode(OF_A_HOST)) == (OF_A_HOST, golden)


def test_the_golden_message_is_read() -> None:
    assert decode((GOLDEN / "cells-1.bin").read_bytes()) == WRITTEN


def test_this_version_still_writes_the_golden_message() -> None:
    assert encode(WRITTEN) == (GOLDEN / "cells-1.bin").read_bytes()


def test_a_message_of_a_newer_minor_version_is_read() -> None:
    """Unknown keys, longer entries of lists, and bytes behind the body."""
    assert decode((GOLDEN / "cells-1-with-more.bin").read_bytes()) == WRITTEN


def test_keys_that_an_older_writer_lacks_have_defaults() -> None:
    header = {"identity": "one", "epoch": 1, "sequence": 1, "sent_at": NOON, "cells": 1}
    found = decode(pack(header, struct.pack("<Id", 0, 171.0)))
    assert (found.service, found.host, found.full, list(found.values)) == ("", "", False, [171.0])


def test_a_newer_major_version_is_distinguished_from_rubbish() -> None:
    data = bytearray(encode(WRITTEN))
    data[4] = 2
    with pytest.raises(UnreadableError) as caught:
        decode(bytes(data))
    assert caught.value.reason == "newer_format"


def test_a_long_message_is_compressed() -> None:
    many = tuple(requests(f"feature-{number}", first=number) for number in range(1000))
    written = message(*many, cells=dict.fromkeys(range(1000), 5.0))
    assert len(encode(written)) < 20_000
    assert decode(encode(written)) == written


def test_a_small_message_cannot_fill_the_memory() -> None:
    bomb = struct.pack("<4sBBHI", b"ANXC", 1, 1, 0, 10) + zlib.compress(b"\0" * 10_000_000)
    with pytest.raises(UnreadableError):
        unpack(bomb, most=1_000_000)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": 5},
        {"identity": "x" * 129},
        {"cells": -1},
        {"cells": 10**12},
        {"cells": True},
        {"epoch": "1"},
        {"sent_at": "now"},
        {"sent_at": None},
        {"layouts": [["a", "counter", ["model"], []]], "series": [[0, 1, ["m"], 0]]},
        {"layouts": [["a", "counter", ["model"], []]], "series": [[0, 0, ["m", "n"], 0]]},
        {"layouts": [["a", "counter", ["model"], []]], "series": [[10**12, 0, ["m"], 0]]},
        {"layouts": [["a", "histogram", ["model"], [1] * 2000]], "series": []},
        {"layouts": 5},
        {"replaces": 5},
        {"replaces": [7]},
        {"series": {"a": 1}},
    ],
)
def test_a_wrong_header_is_unreadable(change: dict[str, Any]) -> None:
    header = {"identity": "one", "epoch": 1, "sequence": 1, "sent_at": NOON, "cells": 0}
    with pytest.raises(UnreadableError):
        decode(pack(header | change, b""))


@given(st.binary(max_size=200))
def test_rubbish_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        decode(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_message_is_read_or_unreadable(place: int, byte: int) -> None:
    data = bytearray(encode(WRITTEN))
    data[place % len(data)] = byte
    with contextlib.suppress(UnreadableError):
        decode(bytes(data))


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_is_read_or_unreadable(header: Any) -> None:
    text = json.dumps(header).encode()
    with contextlib.suppress(UnreadableError):
        decode(struct.pack("<4sBBHI", b"ANXC", 1, 0, 0, len(text)) + text)


def test_infinite_bounds_and_labels_without_end_are_bounded() -> None:
    endless = message(Definition(0, Layout("a", "counter", ("model",)), ("x" * 2000,), NOON), cells={0: 1.0})
    with pytest.raises(UnreadableError):
        decode(encode(endless))
