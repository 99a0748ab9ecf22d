"""What has threads of its own, in processes that fork."""

import ctypes
import os
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

__all__ = ["Reopened"]

Held = TypeVar("Held")


class Reopened(Generic[Held]):
    """Holds something that has threads; a forked process, which those threads stay out of, opens it anew once it is
    asked for."""

    def __init__(self, open_it: Callable[[], Held]) -> None:
        self._open = open_it
        self._lock = Lock()
        self._held: Held | None = open_it()
        _all.add(self)

    def __call__(self) -> Held:
        """What is held. Raises what opening it raises."""
        return self._held or self._reopened()

    def _reopened(self) -> Held:
        with self._lock:
            self._held = self._held or self._open()
            return self._held

    def leave_parent(self) -> None:
        """Forgets, in a process that was just forked, what needs threads of its parent."""
        if self._held is not None:  # kept for ever: its end would wait for those threads
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._held))
        self._held = None
        self._lock = Lock()


_all: WeakSet[Reopened[Any]] = WeakSet()


def _leave_parents() -> None:
    for each in _all:
        each.leave_parent()


os.register_at_fork(after_in_child=_leave_parents)
