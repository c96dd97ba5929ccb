"""Where the demo's documents go, as whoever searches them sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flusso_core.config import Deployment
from flusso_sandbox.compare import JsonDocument

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes:
        question: what was searched for, in words.
        where: the request or file.
        total: how many documents match.
        hits: some of them, a line each.
    """

    question: str
    where: str
    total: int
    hits: Sequence[str]


class Target(ABC):
    """A destination, read without any of flusso's code."""

    @property
    @abstractmethod
    def verb(self) -> str:
        """What a document is when it has arrived: `searchable`."""

    @abstractmethod
    def direct(self, deployment: Deployment) -> Deployment:
        """The deployment with this destination as its only one."""

    @abstractmethod
    def revisions(self, index: str, ids: Sequence[str]) -> Mapping[str, int]:
        """A number for each of the documents that is seen, which rises when it is written."""

    @abstractmethod
    def documents(self, index: str, ids: Sequence[str]) -> Mapping[str, JsonDocument]:
        """Those of the documents that are seen."""

    @abstractmethod
    def count(self, index: str) -> int:
        """How many documents an index has."""

    @abstractmethod
    def ids(self, index: str) -> Iterator[str]:
        """Every id of an index."""

    @abstractmethod
    def search(self) -> Iterator[Answer]:
        """Look for something."""


def slices(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
