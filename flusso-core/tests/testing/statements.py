"""What random writers do to a `MemoryDatabase`: three levels of tables, and one above the roots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from flusso_core.model import Change
from flusso_core.testing import MemoryDatabase
from flusso_core.testing.database import CHILD, GRANDCHILD, OWNER, ROOT


class Statements:
    """Random statements over few keys, so that they meet.

    Args:
        random: of every choice.
        database: what they are for.
        parents: how many keys roots have; there are twice as many for what is below, each level.
        poisoned: every tenth parent is of the kind that sinks refuse.
        truncating: how many statements in a hundred empty a table.

    Attributes:
        happened: how often the rarer kinds have.
    """

    def __init__(
        self,
        random: Random,
        database: MemoryDatabase,
        *,
        parents: int,
        poisoned: bool,
        truncating: float,
    ) -> None:
        self.happened: Counter[str] = Counter()
        self._random = random
        self._database = database
        self._parents = parents
        self._poisoned = poisoned
        self._numbers = 0
        self._kinds: Sequence[tuple[Callable[[], Sequence[Change]], float]] = (
            (self._put_parent, 25),
            (self._move_parents_key, 5),
            (self._delete_parent, 12),
            (self._put_child, 17),
            (self._delete_child, 6),
            (self._put_grandchild, 17),
            (self._delete_grandchild, 5),
            (self._put_owner, 5),
            (self._delete_owner, 1),
            (self._move_two_levels, 4),
            (self._truncate, truncating),
        )

    def next(self) -> Sequence[Change]:
        """What one statement does."""
        kinds = [kind for kind, _ in self._kinds]
        (kind,) = self._random.choices(kinds, [weight for _, weight in self._kinds])
        return kind()

    def _put_parent(self) -> Sequence[Change]:
        owner = self._random.choice((None, self._owner(), self._owner()))
        return [self._database.put_parent(self._parent(), self._name(), owner)]

    def _move_parents_key(self) -> Sequence[Change]:
        self.happened["key moves"] += 1
        database, old, new = self._database, self._parent(), self._parent()
        if self._random.random() < 0.5:
            return [database.rekey_parent(old, new, self._name())]
        return [database.delete_parent(old), database.put_parent(new, self._name())]

    def _delete_parent(self) -> Sequence[Change]:
        return [self._database.delete_parent(self._parent())]

    def _put_child(self) -> Sequence[Change]:
        return [self._database.put_child(self._child(), self._parent())]

    def _delete_child(self) -> Sequence[Change]:
        return [self._database.delete_child(self._child())]

    def _put_grandchild(self) -> Sequence[Change]:
        return [self._database.put_grandchild(self._grandchild(), self._child())]

    def _delete_grandchild(self) -> Sequence[Change]:
        return [self._database.delete_grandchild(self._grandchild())]

    def _put_owner(self) -> Sequence[Change]:
        return [self._database.put_owner(self._owner(), self._name())]

    def _delete_owner(self) -> Sequence[Change]:
        return [self._database.delete_owner(self._owner())]

    def _move_two_levels(self) -> Sequence[Change]:
        """A grandchild moves to a child, and that child to a parent, in either order."""
        self.happened["moves of two levels"] += 1
        child = self._child()
        moves = [
            self._database.put_grandchild(self._grandchild(), child),
            self._database.put_child(child, self._parent()),
        ]
        self._random.shuffle(moves)
        return moves

    def _truncate(self) -> Sequence[Change]:
        self.happened["truncates"] += 1
        tables = (ROOT, ROOT, CHILD, GRANDCHILD, OWNER)
        return [self._database.truncate(self._random.choice(tables))]

    def _parent(self) -> str:
        return f"p{self._random.randrange(self._parents):02}"

    def _child(self) -> str:
        return f"c{self._random.randrange(self._parents * 2):02}"

    def _grandchild(self) -> str:
        return f"g{self._random.randrange(self._parents * 2):02}"

    def _owner(self) -> str:
        return f"o{self._random.randrange(3)}"

    def _name(self) -> str:
        """Never the same twice."""
        self._numbers += 1
        kind = "poison" if self._poisoned and self._random.random() < 0.1 else "name"
        return f"{kind} {self._numbers}"
