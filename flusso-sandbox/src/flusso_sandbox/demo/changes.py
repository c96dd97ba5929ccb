"""Commits a change, and measures how long it takes until all of it is to be seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flusso_sandbox.compare import JsonDocument, compare, differing_places
from flusso_sandbox.demo.oracle import Changed, Oracle
from flusso_sandbox.demo.shop import Connection, ShopChange
from flusso_sandbox.demo.target import Target

_POLL_SECONDS = 0.005
_PATIENCE_SECONDS = 60.0
# A document of the first of these that changed is shown.
_SHOWN = ("orders", "products", "users")
_CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change.

    Attributes:
        change: what was committed.
        ids: of the documents that changed, by index.
        gone: how many of them are no more.
        shown: index and id of one of them.
        places: where that one differs, as `path: before → after`.
        seconds: from the commit until all of them were seen; None: not in time.
    """

    change: ShopChange
    ids: Mapping[str, Sequence[str]]
    gone: int
    shown: tuple[str, str] | None
    places: Sequence[str]
    seconds: float | None

    @property
    def documents(self) -> int:
        """How many documents changed."""
        return sum(len(ids) for ids in self.ids.values())


def commit(
    change: ShopChange,
    *,
    connection: Connection,
    oracle: Oracle,
    target: Target,
    check: Callable[[], None],
) -> Outcome:
    """Commit a change and wait until its every document is seen as it must be.

    The oracle looks at the change before it is committed, so that what to wait for is known when
    the clock starts, which is when the commit has returned.

    Args:
        change: what to commit.
        connection: the oracle's, in autocommit mode.
        oracle: says which documents must be different ones, and what they must be.
        target: where they are looked for.
        check: raises when there is nothing to wait for any more.
    """
    with connection.transaction():
        connection.execute(change.statement.encode())
        changed = oracle.changed()
        shown = _choose(target, changed)
        before = _one(target, shown)
        arrival = _Arrival(target, changed)
    began = time.monotonic()
    end = arrival.wait(began + _PATIENCE_SECONDS, check)
    oracle.accept()
    return Outcome(
        change=change,
        ids={
            index: [identity for identity, _ in sorted(documents.items(), key=_by_number)]
            for index, documents in changed.items()
        },
        gone=sum(each is None for documents in changed.values() for each in documents.values()),
        shown=shown,
        places=list(differing_places(before, _one(target, shown))),
        seconds=None if end is None else end - began,
    )


class _Arrival:
    """Watches a target until documents that changed are seen as they must be.

    A document's revision says at little cost that it was written; what it holds is compared
    when all have been.
    """

    def __init__(self, target: Target, changed: Changed) -> None:
        self._target = target
        self._changed = changed
        self._before = {
            index: target.revisions(index, list(documents)) for index, documents in changed.items()
        }

    def wait(self, deadline: float, check: Callable[[], None]) -> float | None:
        """The moment at which the last document was seen, or None at the deadline."""
        unwritten = {index: set(documents) for index, documents in self._changed.items()}
        while True:
            for index, ids in unwritten.items():
                ids.difference_update(self._written(index, ids))
            now = time.monotonic()
            if not any(unwritten.values()) and self._right():
                return now
            if now > deadline:
                return None
            check()
            time.sleep(_POLL_SECONDS)

    def _written(self, index: str, ids: set[str]) -> set[str]:
        """Those of the documents that are not what they were."""
        if not ids:
            return set()
        revisions = self._target.revisions(index, list(ids))
        before, expected = self._before[index], self._changed[index]
        return {
            identity
            for identity in ids
            if (
                identity not in revisions
                if expected[identity] is None
                else revisions.get(identity, -1) > before.get(identity, -1)
            )
        }

    def _right(self) -> bool:
        """Whether every document is what it must be."""
        for index, documents in self._changed.items():
            expected = {key: each for key, each in documents.items() if each is not None}
            if compare(expected, self._target.documents(index, list(documents))).differences:
                return False
        return True


def _choose(target: Target, changed: Changed) -> tuple[str, str] | None:
    """Index and id of a document to show, if there is one, before the change is to be seen.

    Rather one that stays than one that goes, and one that shows the change near its top.
    """
    for index in _SHOWN:
        staying = {
            identity: document
            for identity, document in sorted(changed.get(index, {}).items(), key=_by_number)
            if document is not None
        }
        some = list(staying)[:_CANDIDATES]
        before = target.documents(index, some)
        depths = {
            identity: min(
                (
                    place.partition(": ")[0].count(".")
                    for place in differing_places(before.get(identity, {}), staying[identity])
                ),
                default=0,
            )
            for identity in some
        }
        if depths:
            return index, min(depths, key=lambda identity: depths[identity])
    return next(((index, next(iter(gone))) for index, gone in changed.items()), None)


def _one(target: Target, which: tuple[str, str] | None) -> JsonDocument:
    """A document as it is seen, empty where it is not."""
    if which is None:
        return {}
    index, identity = which
    return target.documents(index, [identity]).get(identity, {})


def _by_number(item: tuple[str, object]) -> tuple[int, str]:
    """Sorts ids that are numbers as numbers."""
    return len(item[0]), item[0]
