"""The parts of Prometheus' HTTP API that read history. Any compatible server works, such as Mimir or Thanos.

Source: prometheus.io/docs/prometheus/latest/querying/api, read 2026-11-30.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from anthropic_exporter import bounded_files, bounded_http
from anthropic_exporter.errors import ConfigurationError

#: A range query may return 11,000 points a series; fewer keep one answer small.
_MOST_POINTS = 5_000
#: Proxies refuse longer addresses; a longer query is sent in the body.
_LONGEST_ADDRESS = 4_000
_MOST_BYTES = 1 << 30
_SHOWN_CHARACTERS = 200
_Read = TypeVar("_Read")


class TimeSeries(NamedTuple):
    """One series: its labels, and its samples as pairs of Unix seconds and value."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class LoadedRule(NamedTuple):
    """One rule as the server has loaded it; `problem` is why its last evaluation failed, "" if it did not."""

    name: str
    query: str
    problem: str


class RuleGroup(NamedTuple):
    """One group of rules; `interval` and what the last evaluation `took` are in seconds."""

    name: str
    file: str
    interval: float
    took: float
    rules: tuple[LoadedRule, ...]


class Target(NamedTuple):
    """One address that the server scrapes, every `interval` ("1m30s", "" if unknown); `problem` is "" if it is up."""

    job: str
    instance: str
    interval: str
    problem: str


class Prometheus:
    """Reads from one server.

    Args:
        url: such as `http://localhost:9090`; user and password in it are sent as basic authentication and never shown.
        token_file: holds a bearer token.
        timeout: seconds that one answer may take, from connecting to its last byte.
        options: the command's options for the address and for the token, named in errors.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        timeout: float = 300.0,
        options: tuple[str, str] = ("--prometheus", "--prometheus-token-file"),
    ) -> None:
        parts = _parts(url if "://" in url else f"http://{url}", options[0])
        place = parts.netloc.rpartition("@")[2]
        self.url = urllib.parse.urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        self._headers = _authorization(parts, token_file)
        self._timeout = timeout
        self._option, self._token_option = options

    def vector(self, expression: str, at: float) -> list[TimeSeries]:
        """Values of an expression at one moment; a scalar is one series without labels."""
        return self._get("query", {"query": expression, "time": f"{at:.3f}"}, _vector)

    def samples(self, selector: str, seconds: float, at: float) -> list[TimeSeries]:
        """Stored samples of the `seconds` before `at`, with the times at which they were stored."""
        query = f"{selector}[{math.ceil(seconds * 1000)}ms]"
        return self._get("query", {"query": query, "time": f"{at:.3f}"}, _matrix)

    def range(self, expression: str, start: float, end: float, step: float) -> list[TimeSeries]:
        """Values of an expression from `start` to `end`, both included, every `step` seconds."""
        joined: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
        for first, last in _pieces(start, end, step):
            asked = {"query": expression, "start": f"{first:.3f}", "end": f"{last:.3f}", "step": f"{step:g}"}
            for one in self._get("query_range", asked, _matrix):
                joined.setdefault(frozenset(one.labels.items()), []).extend(one.points)
        return [TimeSeries(dict(labels), tuple(points)) for labels, points in joined.items()]

    def rule_groups(self) -> list[RuleGroup]:
        """The groups of rules that the server has loaded."""
        return self._get("rules", {}, lambda found: list(map(_group, found["groups"])))

    def active_targets(self) -> list[Target]:
        """The targets that the server scrapes."""
        return self._get("targets", {"state": "active"}, lambda found: list(map(_target, found["activeTargets"])))

    def alertmanagers(self) -> int:
        """How many Alertmanagers the server sends alerts to."""
        return self._get("alertmanagers", {}, lambda found: len(found["activeAlertmanagers"]))

    def _get(self, path: str, asked: Mapping[str, str], read: Callable[[Any], _Read]) -> _Read:
        """Ask, and `read` the answer; one that has another form is an error like any other."""
        request = self._request(path, urllib.parse.urlencode(asked))
        try:
            with _OPENER.open(request, timeout=self._timeout) as response:
                return read(_data(response.read(_MOST_BYTES)))
        except urllib.error.HTTPError as error:
            with error:
                raise ConfigurationError(f"{self.url}: {_complaint(error, self._token_option)}") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException) as error:
            raise ConfigurationError(f"{self.url}: {_why(error)}: check {self._option}") from error

    def _request(self, path: str, query: str) -> urllib.request.Request:
        address = f"{self.url}/api/v1/{path}"
        if len(query) > _LONGEST_ADDRESS:
            return urllib.request.Request(address, query.encode(), self._headers)  # noqa: S310 - http(s), checked
        return urllib.request.Request(f"{address}?{query}", headers=self._headers)  # noqa: S310 - http(s), checked


class _KeepSecrets(urllib.request.HTTPRedirectHandler):
    """Sends no credentials to another server that a redirect leads to, such as a page to log in."""

    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        """The request that follows a redirect."""
        followed = super().redirect_request(req, *answer)
        if followed is not None and (followed.type, followed.host) != (req.type, req.host):
            followed.remove_header("Authorization")
        return followed


_OPENER = bounded_http.opener(_KeepSecrets)


def _parts(url: str, option: str) -> urllib.parse.SplitResult:
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise ConfigurationError(f"the address of Prometheus must look like http://localhost:9090; check {option}")


def _authorization(parts: urllib.parse.SplitResult, token_file: Path | None) -> dict[str, str]:
    if token_file is not None:
        return {"Authorization": f"Bearer {read_secret(token_file)}"}
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def read_secret(path: Path) -> str:
    """The one line of a file that holds a secret.

    Raises:
        ConfigurationError: the file cannot be read, or does not hold one line. The line is not part of the message.
    """
    text = bounded_files.read_text(path, bounded_files.MOST_SECRET_BYTES).strip()
    if not text or not text.isascii() or len(text.split()) != 1:
        raise ConfigurationError(f"{path}: expected one line with the secret")
    return text


def _pieces(start: float, end: float, step: float) -> Iterator[tuple[float, float]]:
    count = math.floor((end - start) / step + 1e-9) + 1
    for first in range(0, count, _MOST_POINTS):
        last = min(first + _MOST_POINTS, count) - 1
        yield start + first * step, start + last * step


def _data(body: bytes) -> Any:
    answer = json.loads(body)
    if answer["status"] != "success":
        raise ValueError("status")
    return answer["data"]


def _group(found: Any) -> RuleGroup:
    rules = tuple(map(_rule, found["rules"]))
    took = float(found.get("evaluationTime") or 0)
    return RuleGroup(str(found["name"]), str(found.get("file", "")), float(found["interval"]), took, rules)


def _rule(found: Any) -> LoadedRule:
    fails = found.get("health") == "err"
    return LoadedRule(
        str(found["name"]), str(found["query"]), str(found.get("lastError") or "unknown") if fails else ""
    )


def _target(found: Any) -> Target:
    labels = found["labels"]
    problem = str(found.get("lastError") or "unknown") if found["health"] == "down" else ""
    return Target(labels.get("job", ""), labels.get("instance", ""), str(found.get("scrapeInterval", "")), problem)


def _point(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _vector(found: Any) -> list[TimeSeries]:
    if found["resultType"] == "scalar":
        return [TimeSeries({}, (_point(found["result"]),))]
    return [TimeSeries(dict(one["metric"]), (_point(one["value"]),)) for one in found["result"]]


def _matrix(found: Any) -> list[TimeSeries]:
    return [TimeSeries(dict(one["metric"]), tuple(map(_point, one["values"]))) for one in found["result"]]


def _complaint(error: urllib.error.HTTPError, token_option: str) -> str:
    """What the server says is wrong with the question; of any other answer only the status."""
    try:
        return f"{error.code}: {str(json.loads(error.read(65_536))['error'])[:_SHOWN_CHARACTERS]}"
    except (ValueError, KeyError, TypeError, OSError):
        secret = f" (give {token_option}, or user and password as in http://user:password@host)"
        return f"answers {error.code}{secret if error.code in (401, 403) else ': is it the address of a Prometheus?'}"


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(error, TimeoutError) or isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return f"cannot be reached: {getattr(reason, 'strerror', None) or reason}"
    return "the response is not from a Prometheus"
