"""A dictionary that forgets what was not used lately."""

from __future__ import annotations

from typing import TypeVar

_Value = TypeVar("_Value")


class Recent(dict[int, _Value]):
    """Values by key; of more than `most`, the older half may be forgotten, unless it was read meanwhile."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._old: dict[int, _Value] = {}

    def older(self, key: int) -> _Value | None:
        """The value of a key that `get` does not have; it is new again."""
        found = self._old.pop(key, None)
        if found is not None:
            self[key] = found
        return found

    def older_or_room(self, key: int) -> _Value | None:
        """As `older`; if there is none, make room for a new one."""
        found = self.older(key)
        if found is None and len(self) >= self._most:
            self.limit()
        return found

    def limit(self) -> None:
        """Forget what is older than the newest `most`."""
        if len(self) >= self._most:
            self._old = dict(self)
            self.clear()
