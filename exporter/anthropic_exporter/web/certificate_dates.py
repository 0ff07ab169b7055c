"""When certificates are valid: the first thing that every client checks, and that nothing says at the server.

Reads the dates of X.509 certificates (RFC 5280, 4.1): Python's `ssl` shows them only of a peer.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from collections.abc import Iterator
from typing import NamedTuple

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME, _TIME = 0xA0, 0x17, 0x18
#: In a certificate: serial number, algorithm, issuer, and then the validity.
_BEFORE_VALIDITY = 3


class Validity(NamedTuple):
    """The first and the last second of a certificate, in seconds since the epoch."""

    begins: float
    ends: float


def read_validities(pem: str) -> list[Validity]:
    """The validity of each certificate of a file; one that cannot be read is left out."""
    return [found for text in _PEM.findall(pem) if (found := _read_one(text)) is not None]


def _read_one(text: str) -> Validity | None:
    try:
        ((_, certificate), *_) = _elements(ssl.PEM_cert_to_DER_cert(text))
        ((_, signed), *_) = _elements(certificate)
        parts = [content for tag, content in _elements(signed) if tag != _VERSION]
        begins, ends = (_seconds(tag, content) for tag, content in _elements(parts[_BEFORE_VALIDITY]))
    except (ValueError, IndexError):
        return None
    return Validity(begins, ends)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of a DER encoding."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:  # the length is encoded in further bytes
            more = length & 0x7F
            length, at = int.from_bytes(data[at : at + more], "big"), at + more
        yield tag, data[at : at + length]
        at += length


def _seconds(tag: int, content: bytes) -> float:
    """A time of a certificate; of a year with two digits, those below 50 are of this century."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text < "50" else "19") + text
    elif tag != _TIME:
        raise ValueError("not a time")
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.timezone.utc).timestamp()


def describe_problem(validities: list[Validity], now: float) -> str:
    """What is wrong with a chain of certificates at `now`, in seconds since the epoch; empty if nothing is."""
    if not validities:
        return ""
    begins, ends = max(one.begins for one in validities), min(one.ends for one in validities)
    if now > ends:
        return f"expired at {_day(ends)}"
    return f"is not valid before {_day(begins)}" if now < begins else ""


def describe_problem_of_all(validities: list[Validity], now: float) -> str:
    """The same for a list of certificates, of which one has to be valid."""
    problems = [describe_problem([one], now) for one in validities]
    return problems[-1] if problems and all(problems) else ""


def _day(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M} UTC"
