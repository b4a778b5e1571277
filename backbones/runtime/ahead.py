"""Fetches the next batch from the loader workers while a GPU computes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any


class Ahead:
    """The items of an iterator; a thread fetches the next one while the current one is used.

    Use it with :func:`contextlib.closing`. ``close`` waits until the thread has fetched its current
    item.

    Args:
        items: The iterator; only the thread uses it from now on.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._taken: queue.Queue[tuple[bool, Any]] = queue.Queue(1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def __iter__(self) -> Ahead:
        return self

    def __next__(self) -> Any:
        """Return the next item, or raise what the iterator raised."""
        if self._closed.is_set():
            raise StopIteration
        is_item, item = self._taken.get()
        if is_item:
            return item
        self._closed.set()
        raise item

    def close(self) -> None:
        """Stop fetching."""
        self._closed.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._taken.get(timeout=0.05)

    def _take(self) -> None:
        last: Exception = StopIteration()
        try:
            for item in self._items:
                self._taken.put((True, item))
                if self._closed.is_set():
                    return
        except Exception as failure:
            last = failure
        self._taken.put((False, last))
