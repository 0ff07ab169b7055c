"""Remembers which model answers a requested id, so that its failures and answers share a label."""

from __future__ import annotations

from anthropic_exporter.kept_text import kept
from anthropic_exporter.wire.model_ids import model_label

_MOST_IDS = 1_000
_MOST_MESSAGES = 4_096


class ServedModels:
    """The label of the model that last served each requested id. No lock: single operations on a dict."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def learn(self, asked: str, label: str) -> None:
        """Remember that a request for `asked` was served by the model of this label."""
        labels, asked = self._labels, kept(asked)
        if labels.get(asked) != label:
            labels[asked] = label
            if len(labels) > _MOST_IDS:
                labels.pop(next(iter(labels)), None)

    def is_last(self, asked: str, label: str) -> bool:
        """Whether the model of this label served the last request for `asked`."""
        return self._labels.get(asked) == label

    def label(self, asked: str) -> str:
        """The label of an attempt without an answer: the model that last served the id, else the id's bare name."""
        return self._labels.get(kept(asked)) or model_label(kept(asked))


class CachedThreads:
    """Ids of the last messages of conversations that the server holds and whose first request asked for caching.

    Later turns of such a conversation send neither `system` nor `tools`, where the request for it was.
    """

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def add(self, message_id: object) -> None:
        """Remember a message; forget the oldest if there are too many."""
        if isinstance(message_id, str):
            message_id = kept(message_id)
            self._ids[message_id] = None
            if len(self._ids) > _MOST_MESSAGES:
                self._ids.pop(next(iter(self._ids)), None)

    def __contains__(self, message_id: object) -> bool:
        return isinstance(message_id, str) and kept(message_id) in self._ids
