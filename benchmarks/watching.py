"""Looks at something again and again while something else goes on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Watch(ABC):
    """A context manager that looks at something until its end, on a thread of its own.

    Args:
        name: of the thread.
        every: seconds between two looks.
    """

    def __init__(self, name: str, every: float) -> None:
        self._every = every
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @abstractmethod
    def _look(self) -> None:
        """Look once."""

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            self._look()
