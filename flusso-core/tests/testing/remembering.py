"""A database that remembers, and a watch that holds a destination to it at every instant."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from functools import lru_cache

import pytest

from flusso_core.model import GenerationRecord, StateRecord
from flusso_core.testing import MemoryDatabase, MemoryDestination
from flusso_core.testing.database import Commit, formed

INDEX = "parents"
POISON = b"poison"


class RememberingDatabase(MemoryDatabase):
    """A database that knows what every snapshot of it showed, and what each commit changed.

    It looks at whole documents before and after, so it knows nothing of how changes are resolved.
    """

    def __init__(self) -> None:
        super().__init__()
        # Document to the snapshots that showed it otherwise than the one before, oldest first.
        self.shown: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
        # Commit to the documents that it changed, once snapshots see it.
        self.touched: dict[int, set[str]] = {}
        self._now: dict[str, bytes] = {}

    def reveal(self) -> None:
        """Let snapshots see every commit, and take note of what they show."""
        unseen = [commit.number for commit in self._hidden]
        super().reveal()
        for key in set[str]().union(*(self.touched[number] for number in unseen)):
            self.shown[key].append((self.visible, self._now.get(key)))

    def apply(self, commit: Commit) -> None:
        """Take note of the documents that are not as they were before the commit."""
        before = self._now
        super().apply(commit)
        self._now = after = self.documents()
        keys = before.keys() | after.keys()
        self.touched[commit.number] = {key for key in keys if before.get(key) != after.get(key)}

    def bodies_since(self, key: str, commit: int) -> list[bytes | None]:
        """The document as each snapshot that saw the commit showed it."""
        shown = self.shown[key]
        first = bisect_left(shown, commit, key=lambda entry: entry[0])
        return [body for _, body in shown[first:]]


class Watch:
    """Holds a destination to what is confirmed, at every instant.

    Args:
        database: whose changes it gets.
        destination: whose records and documents are looked at.

    Attributes:
        happened: how often a document was compared, by whether its generation was the newest.
    """

    def __init__(self, database: RememberingDatabase, destination: MemoryDestination) -> None:
        self._database = database
        self._destination = destination
        self._checked: Counter[int] = Counter()
        self._gap = 0
        self.happened: Counter[str] = Counter()

    def check(self) -> None:
        """No confirmed position is above a record, and none has an unpaid debt."""
        for record in self._destination.records.values():
            if self._has_gap(record):
                continue
            assert self._database.confirmed <= record.position.order
            for generation in (record.current, record.serving):
                if generation is not None and generation.clean:
                    role = "newest" if generation is record.current else "older"
                    self.happened[f"comparisons of the {role}"] += self._check_debts(generation)

    def begin_gap(self) -> None:
        """The stream begins elsewhere, or is another one: what is remembered may be too old."""
        self._gap = self._database.confirmed

    def _has_gap(self, record: StateRecord) -> bool:
        """Whether no run has yet seen to it that the stream does not go with the record."""
        return record.identity != self._database.identity or record.position.order < self._gap

    def _check_debts(self, generation: GenerationRecord) -> int:
        """What the commits up to the confirmed one touched is no older than they are.

        It is so by the generation's own schema. Or it is owed to a later commit, which comes
        again: where a resolve did not find a document any more, because a later commit had
        deleted or moved what led to it. Returns how many were compared.
        """
        confirmed, touched = self._database.confirmed, self._database.touched
        later = range(confirmed + 1, self._database.visible + 1)
        stored = self._destination.generations.get((INDEX, generation.number))
        if stored is None:
            return 0  # lost
        checked, compared = self._checked[generation.number], 0
        for commit in range(checked + 1, confirmed + 1):
            for key in touched.get(commit, ()):
                entry = stored.get(key)
                found = None if entry is None else entry.body
                bodies = self._database.bodies_since(key, commit)
                right = {as_built(body, generation.schema) for body in bodies}
                refused = any(body is not None and POISON in body for body in right)
                owed = any(key in touched.get(number, ()) for number in later)
                compared += 1
                if not (found in right or refused or owed):
                    pytest.fail(f"commit {commit} is confirmed, and {key} is older than it")
        self._checked[generation.number] = max(checked, confirmed)
        return compared


@lru_cache(maxsize=100_000)
def as_built(body: bytes | None, form: str | None) -> bytes | None:
    """A document as a generation of that schema has it."""
    return body if body is None or form is None else formed(body, form)
