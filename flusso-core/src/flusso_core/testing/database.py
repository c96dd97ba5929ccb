"""A database in memory: tables of three levels and one that roots belong to, and a log of commits.

It has what makes real ones hard: a commit may be in the stream before snapshots see it, a
transaction may straddle the start of the stream, the stream replays from what was confirmed, and
what a change touches may depend on rows that later commits have moved.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flusso_core.model import Change, Operation, StreamIdentity, TableName

ROOT = TableName("public", "parents")
CHILD = TableName("public", "children")
GRANDCHILD = TableName("public", "grandchildren")
OWNER = TableName("public", "owners")

_COLUMN = {ROOT: "name", CHILD: "parent", GRANDCHILD: "child", OWNER: "name"}
"""What a row has besides its key; a parent may have an owner too."""

_PARTS = frozenset({"owner", "grandchildren"})
"""What documents have of related tables, if their form says so; all have children."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction in the log.

    Attributes:
        number: of its place in the log, from 1.
        changes: what it did, with the old rows.
    """

    number: int
    changes: list[Change]


@dataclass
class MemoryDatabase:
    """Parents, what is below and above them as snapshots see it, and every commit so far.

    Attributes:
        parents: key to name.
        children: key to the parent's key.
        grandchildren: key to the child's key.
        owners: key to name.
        owned: a parent's key to the owner's, where it has one.
        identity: of the change stream; change it to play another server.
        confirmed: the position that the stream's consumer has confirmed.
    """

    parents: dict[str, str] = field(default_factory=dict[str, str])
    children: dict[str, str] = field(default_factory=dict[str, str])
    grandchildren: dict[str, str] = field(default_factory=dict[str, str])
    owners: dict[str, str] = field(default_factory=dict[str, str])
    owned: dict[str, str] = field(default_factory=dict[str, str])
    identity: StreamIdentity = field(default=StreamIdentity("memory", "test", "flusso", "1"))
    confirmed: int = 0
    _log: list[Commit] = field(default_factory=list[Commit])
    _hidden: list[Commit] = field(default_factory=list[Commit])
    _visible: int = 0
    _committed: asyncio.Event = field(default_factory=asyncio.Event)
    _revealed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def head(self) -> int:
        """The number of the last commit."""
        return len(self._log)

    @property
    def visible(self) -> int:
        """The number of the last commit that snapshots see."""
        return self._visible

    # What a transaction may do

    def put_parent(self, key: str, name: str, owner: str | None = None) -> Change:
        """An insert or update of a parent, to `commit`."""
        return Change(ROOT, Operation.UPSERT, None, {"key": key, "name": name, "owner": owner})

    def rekey_parent(self, key: str, new: str, name: str) -> Change:
        """An update of a parent's key, to `commit`."""
        after = {"key": new, "name": name, "owner": None}
        return Change(ROOT, Operation.UPSERT, {"key": key}, after)

    def delete_parent(self, key: str) -> Change:
        """A delete of a parent, to `commit`."""
        return Change(ROOT, Operation.DELETE, {"key": key}, None)

    def put_child(self, key: str, parent: str) -> Change:
        """An insert of a child or its move to another parent, to `commit`."""
        return Change(CHILD, Operation.UPSERT, None, {"key": key, "parent": parent})

    def delete_child(self, key: str) -> Change:
        """A delete of a child, to `commit`."""
        return Change(CHILD, Operation.DELETE, {"key": key}, None)

    def put_grandchild(self, key: str, child: str) -> Change:
        """An insert of a grandchild or its move to another child, to `commit`."""
        return Change(GRANDCHILD, Operation.UPSERT, None, {"key": key, "child": child})

    def delete_grandchild(self, key: str) -> Change:
        """A delete of a grandchild, to `commit`."""
        return Change(GRANDCHILD, Operation.DELETE, {"key": key}, None)

    def put_owner(self, key: str, name: str) -> Change:
        """An insert or update of an owner, to `commit`."""
        return Change(OWNER, Operation.UPSERT, None, {"key": key, "name": name})

    def delete_owner(self, key: str) -> Change:
        """A delete of an owner, to `commit`; parents that belong to it have none then."""
        return Change(OWNER, Operation.DELETE, {"key": key}, None)

    def truncate(self, table: TableName) -> Change:
        """A truncate, to `commit`."""
        return Change(table, Operation.TRUNCATE, None, None)

    # The log

    def commit(self, *changes: Change, hidden: bool = False) -> int:
        """Commit the changes; they are in the stream at once. Returns the commit's number.

        Args:
            changes: what the transaction did.
            hidden: snapshots do not see it before `reveal` (a synchronous standby that is late).
        """
        commit = Commit(len(self._log) + 1, [])
        self._hidden.append(commit)
        for change in changes:
            commit.changes.append(self._with_old(change))
        self._log.append(commit)
        if not hidden:
            self.reveal()
        self._committed.set()
        return commit.number

    def reveal(self) -> None:
        """Let snapshots see every commit."""
        for commit in self._hidden:
            self.apply(commit)
        self._hidden.clear()
        self._visible = len(self._log)
        self._revealed.set()

    def apply(self, commit: Commit) -> None:
        """Write what the commit did to the rows. No snapshot sees one commit of several alone."""
        for change in commit.changes:
            self._apply(change)

    def since(self, number: int) -> Sequence[Commit]:
        """The commits after that number."""
        return self._log[number:]

    async def wait_for_commit(self, number: int) -> None:
        """Return when there is a commit after that number."""
        while len(self._log) <= number:
            self._committed.clear()
            await self._committed.wait()

    async def wait_visible(self, number: int) -> None:
        """Return when snapshots see that commit."""
        while self._visible < number:
            self._revealed.clear()
            await self._revealed.wait()

    # Documents

    def document(self, key: str) -> bytes | None:
        """The document of a parent, as snapshots see it now."""
        return self._documents([key]).get(key)

    def documents(self) -> dict[str, bytes]:
        """Every document that there must be, by id."""
        return self._documents(self.parents)

    def _documents(self, keys: Iterable[str]) -> dict[str, bytes]:
        """A name and the keys of the children; the owner's name and the paths of grandchildren
        where there are any.
        """
        children, grandchildren = _by_value(self.children), _by_value(self.grandchildren)
        found: dict[str, bytes] = {}
        for key in keys:
            if key not in self.parents:
                continue
            below = sorted(children.get(key, ()))
            document: dict[str, object] = {"name": self.parents[key], "children": below}
            owner = self.owners.get(self.owned.get(key, ""))
            if owner is not None:
                document["owner"] = owner
            paths = [f"{child}/{far}" for child in below for far in grandchildren.get(child, ())]
            if paths:
                document["grandchildren"] = sorted(paths)
            found[key] = json.dumps(document).encode()
        return found

    # Inside

    def _with_old(self, change: Change) -> Change:
        """Add the old row, as a replica identity does."""
        image = change.before or change.after
        if image is None:
            return change
        known = self._latest(change.table, image["key"] or "")
        return change if known is None else change._replace(before=known)

    def _latest(self, table: TableName, key: str) -> Mapping[str, str | None] | None:
        """The row as the last change left it, seen by snapshots or not."""
        for commit in reversed(self._hidden):
            for change in reversed(commit.changes):
                if change.table != table:
                    continue
                if change.operation is Operation.TRUNCATE:
                    return None
                if change.after is not None and change.after["key"] == key:
                    return change.after
                if change.before is not None and change.before["key"] == key:
                    return None
        rows = self._rows(table)
        if key not in rows:
            return None
        owner = {"owner": self.owned.get(key)} if table == ROOT else {}
        return {"key": key, _COLUMN[table]: rows[key], **owner}

    def _rows(self, table: TableName) -> dict[str, str]:
        tables = {
            ROOT: self.parents,
            CHILD: self.children,
            GRANDCHILD: self.grandchildren,
            OWNER: self.owners,
        }
        return tables[table]

    def _apply(self, change: Change) -> None:
        rows = self._rows(change.table)
        owned = self.owned if change.table == ROOT else {}
        if change.operation is Operation.TRUNCATE:
            rows.clear()
            owned.clear()
            return
        if change.before is not None:
            key = change.before["key"] or ""
            rows.pop(key, None)
            owned.pop(key, None)
        if change.after is not None:
            key = change.after["key"] or ""
            rows[key] = change.after[_COLUMN[change.table]] or ""
            owner = change.after.get("owner")
            if owner is not None:
                owned[key] = owner


def formed(body: bytes, form: str) -> bytes:
    """A document as another schema has it.

    A form names what documents have of `owner` and `grandchildren`, and each says its form.
    """
    document = json.loads(body)
    for part in _PARTS.difference(form.split()):
        document.pop(part, None)
    return json.dumps({**document, "form": form}).encode()


def _by_value(rows: Mapping[str, str]) -> Mapping[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in rows.items():
        found[value].append(key)
    return found
