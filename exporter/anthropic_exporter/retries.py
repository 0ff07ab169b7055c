"""What joins the attempts of one logical call: the SDK's idempotency key, the same for all of them."""

from __future__ import annotations

from typing import NamedTuple

_MOST = 4096
#: The SDK waits at most 8 s between attempts unless the server names a time; nobody comes back much later than that.
PATIENCE_SECONDS = 90.0


class Failed(NamedTuple):
    """An attempt that failed and may be tried again. Times are those of `time.perf_counter()`.

    `began` is the start of the first attempt of the call, `deadline` when nobody will try again any more.
    """

    outcome: str
    model: str = ""
    feature: str = ""
    began: float = 0.0
    ended: float = 0.0
    deadline: float = float("inf")


class Retries:
    """Failed attempts by idempotency key. No lock: single operations on a dict, because a finalizer may come between.

    A last failing attempt is never asked for: it is given up at its deadline, or dropped when there are too many.
    """

    def __init__(self) -> None:
        self._failed: dict[str, Failed] = {}

    def failed(self, key: str | None, failed: Failed) -> None:
        """Remember that an attempt ended so."""
        if key is not None:
            self._failed[key] = failed
            if len(self._failed) > _MOST:
                self._failed.pop(next(iter(self._failed)), None)

    def before(self, key: str | None) -> Failed | None:
        """The attempt before this one, once; None where it was not seen."""
        return self._failed.pop(key or "", None)

    def given_up(self, now: float) -> list[Failed]:
        """Take out the calls whose last attempt failed and that nobody will try again."""
        late = [key for key, failed in self._failed.copy().items() if failed.deadline < now]
        taken = [self._failed.pop(key, None) for key in late]
        return [failed for failed in taken if failed is not None]
