"""Why the SDK tried again: the outcome of the attempt before, remembered between attempts of one logical call."""

from __future__ import annotations

_MOST = 4096


class Retries:
    """Outcomes of failed attempts by idempotency key, which the SDK keeps for all attempts of a call.

    A last failing attempt is never asked for, so the oldest entries are dropped when there are too many.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, str] = {}

    def failed(self, key: str | None, outcome: str) -> None:
        """Remember that an attempt ended so."""
        if key is not None:
            self._outcomes[key] = outcome
            if len(self._outcomes) > _MOST:
                self._outcomes.pop(next(iter(self._outcomes)), None)

    def reason(self, key: str | None) -> str:
        """The outcome that made the SDK try again; "unknown" where it was not seen."""
        return self._outcomes.pop(key or "", "unknown")
