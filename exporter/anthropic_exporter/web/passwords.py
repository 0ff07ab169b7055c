"""Basic authentication with bcrypt hashes; neither frequent scrapes nor guessed passwords use up the processor."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from anthropic_exporter.errors import ConfigurationError

_MOST_REMEMBERED = 100
#: How many of the four handler threads may wait for a hash; one is always free for passwords that are known.
_MOST_WAITING = 2
_MOST_PASSWORD_BYTES = 72


class TooManyLogins(Exception):  # noqa: N818 - says what happened
    """Too many passwords are being checked; try again in a second."""


class Passwords:
    """Checks the `Authorization` header of basic authentication. Results are remembered, both good and bad ones.

    Args:
        users: bcrypt hashes by name.

    Raises:
        ConfigurationError: there are users, and the package bcrypt is not installed.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = dict(users)
        self._bcrypt: Any = _bcrypt() if users else None
        self._secret = os.urandom(32)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._computing = threading.Lock()

    def admits(self, authorization: str) -> bool:
        """Whether a header has the name and password of a user.

        Raises:
            TooManyLogins: the password is not cached, and too many others are being checked.
        """
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, separator, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        return bool(separator) and len(password.encode()) <= _MOST_PASSWORD_BYTES and self._is_right(name, password)

    def _is_right(self, name: str, password: str) -> bool:
        key = hashlib.blake2b(f"{name}\0{password}".encode(), key=self._secret).digest()
        for result, remembered in self._known.items():
            if key in remembered:
                return result
        result = self._compute(name, password)
        self._remember(key, result=result)
        return result

    def _compute(self, name: str, password: str) -> bool:
        """Compare with the user's hash; an unknown name takes as long as a known one."""
        if not self._waiting.acquire(blocking=False):
            raise TooManyLogins
        try:
            with self._computing:
                right = bool(self._bcrypt.checkpw(password.encode(), self._hash(name)))
        except ValueError:  # a NUL in the password
            return False
        finally:
            self._waiting.release()
        return right and name in self._users

    def _hash(self, name: str) -> bytes:
        return self._users.get(name, next(iter(self._users.values()))).encode()

    def _remember(self, key: bytes, *, result: bool) -> None:
        remembered = self._known[result]
        remembered[key] = None
        while len(remembered) > _MOST_REMEMBERED:
            remembered.popitem(last=False)


def _bcrypt() -> Any:
    try:
        import bcrypt  # noqa: PLC0415 - an extra, for those who give passwords
    except ImportError as error:
        raise ConfigurationError(
            "basic_auth_users needs the package bcrypt: pip install 'anthropic-exporter[web]'"
        ) from error
    return bcrypt
