"""Remedies of the standalone exporter: the command-line options of `anthropic-exporter serve`."""

from __future__ import annotations

import contextlib
import importlib.util
import traceback
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.remedies.remedies import Remedies
from anthropic_exporter.remedies.token import Token
from anthropic_exporter.standalone import notifications
from anthropic_exporter.standalone.heartbeat import SILENT_AFTER_SECONDS, Heartbeat
from anthropic_exporter.web.routes import Answer, Handler, Request, Route
from anthropic_exporter.wire.alertmanager import FIRING, IncomingAlert

if TYPE_CHECKING:
    from anthropic_exporter.recorder import Recorder

_log = Log("anthropic_exporter.remedies")
_FUNCTION = "register"
_MOST_CODE_BYTES = 1_048_576


class ExporterOptions(NamedTuple):
    """The options, as they were given.

    Attributes:
        token_file: holds the bearer token that every request needs.
        alertmanagers: addresses to ask for alerts with the label `remedy`.
        refresh_cache: `FEATURE=FILE`, where the file holds the arguments of `messages.create` as JSON.
        remedies: Python files that define `register(remedies)`.
        dry_run: log and count what would be done, and do nothing.
        heartbeat_within: seconds after the last beat at which the heartbeat counts as lost.
    """

    token_file: Path | None = None
    alertmanagers: Sequence[str] = ()
    refresh_cache: Sequence[str] = ()
    remedies: Sequence[Path] = ()
    dry_run: bool = False
    heartbeat_within: float = SILENT_AFTER_SECONDS


def routes(recorder: Recorder, settings: ExporterOptions, owned: contextlib.ExitStack) -> tuple[Route, ...]:
    """`/alerts` and `/heartbeat`, with remedies if there are any; `owned` closes them.

    Raises:
        ConfigurationError: options that exclude each other, or a file that is not valid.
    """
    _check(settings)
    remedies = _remedies(recorder, settings, owned)
    heartbeat = _heartbeat(recorder, settings, remedies, owned)
    further: dict[str, Callable[[Request], Answer | None]] = {"/heartbeat": lambda _: heartbeat.beat()}
    if remedies is not None and settings.token_file is not None:
        (alerts,) = remedies.routes()
        further[alerts.path] = alerts.handle
    admit = None if settings.token_file is None else Token(settings.token_file).admit
    return tuple(
        route._replace(handle=_then(route.handle, further.get(route.path)), admit=admit)
        for route in notifications.routes(recorder)
    )


def _check(settings: ExporterOptions) -> None:
    wanted = bool(settings.refresh_cache or settings.remedies)
    if wanted and settings.token_file is None and not settings.alertmanagers:
        raise ConfigurationError("serve: remedies receive no alerts: give --token-file, --alertmanager, or both")
    for option, given in (("--alertmanager", settings.alertmanagers), ("--dry-run", settings.dry_run)):
        if given and not wanted:
            raise ConfigurationError(f"serve: {option} without a remedy: give --refresh-cache, or --remedies, or both")


def _remedies(recorder: Recorder, settings: ExporterOptions, owned: contextlib.ExitStack) -> Remedies | None:
    if not (settings.refresh_cache or settings.remedies):
        return None
    remedies = Remedies(recorder, token_file=settings.token_file, dry_run=settings.dry_run)
    owned.enter_context(remedies)
    for option in settings.refresh_cache:
        feature, separator, prompt = option.partition("=")
        if not (separator and prompt):
            raise ConfigurationError(f"serve: --refresh-cache {option!r}: give FEATURE=FILE")
        remedies.prompt(feature, _client(), _request(Path(prompt)))
    for path in settings.remedies:
        _register(path, remedies)
    if settings.alertmanagers:
        remedies.watch(*settings.alertmanagers)
    return remedies


def _heartbeat(
    recorder: Recorder, settings: ExporterOptions, remedies: Remedies | None, owned: contextlib.ExitStack
) -> Heartbeat:
    """Watches the heartbeat: logs, counts and notifies the remedies when it stops."""

    def tell(alert: IncomingAlert) -> None:
        recorder.count(f.NOTIFICATIONS, alert.labels["severity"], alert.status, alert.name)
        if alert.status == FIRING:
            _log.error("no heartbeat for %.0f s: %s", settings.heartbeat_within, alert.annotations["summary"])
        else:
            _log.warning("the heartbeat is back")
        if remedies is not None:
            remedies.take([alert])

    heartbeat = Heartbeat(settings.heartbeat_within, tell)
    owned.callback(heartbeat.close)
    heartbeat.start()
    return heartbeat


def _then(first: Handler, second: Callable[[Request], Answer | None] | None) -> Handler:
    """Call `first`; if it accepts, `second` may replace the answer."""
    if second is None:
        return first

    def both(request: Request) -> Answer:
        answer = first(request)
        return answer if answer.status != HTTPStatus.OK else second(request) or answer

    return both


def _client() -> Any:
    from anthropic import Anthropic, AnthropicError  # noqa: PLC0415 - only those who refresh a cache load it

    try:
        client = Anthropic()
    except AnthropicError as error:
        raise ConfigurationError(f"serve: --refresh-cache: {error}") from error
    if not client.auth_headers:
        raise ConfigurationError("serve: --refresh-cache calls the API: set ANTHROPIC_API_KEY")
    return client


def _request(path: Path) -> dict[str, Any]:
    request = bounded_files.read_json(path)
    if not (isinstance(request, dict) and {"model", "messages"} <= request.keys()):
        raise ConfigurationError(f"{path}: give the arguments of messages.create, model and messages among them")
    return request


def _register(path: Path, remedies: Remedies) -> None:
    """Run the `register` function of a user's file."""
    register = getattr(_loaded(path), _FUNCTION, None)
    if not callable(register):
        raise ConfigurationError(f"{path}: define {_FUNCTION}(remedies), which is called once at the start")
    try:
        register(remedies)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(_where(path, error)) from error


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"remedies_of_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path}: not a Python file; its name must end in .py")
    bounded_files.read_bytes(path, _MOST_CODE_BYTES)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigurationError(_where(path, error)) from error
    return module


def _where(path: Path, error: Exception) -> str:
    """Return one line: the file, the line that failed, and the error."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).absolute() == path.absolute()]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [0])[-1]
    return f"{path}{f':{line}' if line else ''}: {type(error).__name__}: {error}"
