"""A shop that never stands still: random transactions over the tables of `examples/shop`.

```python
with psycopg.connect(url, autocommit=True) as connection:
    writer = ShopWriter(connection, random.Random(7), rate=50)
    writer.run(1000)
    print(writer.done)
```

Every transaction is one that the shop's own application could commit: rows come, change and go,
with what cascades from them; foreign keys move; keys change; some work is undone by a savepoint or
by a rollback. Two writers with one seed, each alone on a shop of one size, do the same.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from .shop_happenings import HAPPENINGS
from .shop_rows import Shop

if TYPE_CHECKING:
    import random

    from psycopg.rows import TupleRow

ROLLED_BACK = "(rolled back)"
NOTHING = "(nothing to do)"
TRANSACTIONS = "(transactions committed)"


class ShopWriter:
    """Commits random transactions over the shop.

    Args:
        connection: autocommit, to a database that holds the shop's tables; no one else may use it
            meanwhile.
        rng: decides what happens.
        rate: transactions a second at most; None: as fast as they go.

    Attributes:
        done: how often each thing happened and was committed, by its name; beside them, in
            brackets, `TRANSACTIONS`, what was `ROLLED_BACK`, and what found `NOTHING` to do.
    """

    def __init__(
        self,
        connection: psycopg.Connection[TupleRow],
        rng: random.Random,
        *,
        rate: float | None = None,
    ) -> None:
        self._shop = Shop(connection, rng)
        self._connection = connection
        self._rng = rng
        self._interval = 0.0 if rate is None else 1 / rate
        self._weights = [happening.weight for happening in HAPPENINGS]
        self.done: Counter[str] = Counter()

    def run(self, transactions: int | None = None, *, stop: threading.Event | None = None) -> None:
        """Write until so many transactions are done, or until `stop` is set.

        Args:
            transactions: how many; None: until `stop`, which must be given then.
            stop: asked before each transaction, so that another thread can end the run.
        """
        if transactions is None and stop is None:
            raise ValueError("a run needs an end: a number of transactions, or an event")
        due = time.monotonic()
        count = 0
        while transactions is None or count < transactions:
            pause = max(0.0, due - time.monotonic())
            if stop is None:
                time.sleep(pause)
            elif stop.wait(pause):
                return
            due += self._interval
            self.transaction()
            count += 1

    def transaction(self) -> None:
        """Commit a transaction of one to six happenings; roll one of fifteen back instead."""
        given_up = self._shop.chance(1 / 15)
        done: Counter[str] = Counter()
        with self._connection.transaction(force_rollback=given_up):
            for _ in range(self._rng.choice((1, 1, 1, 2, 3, 6))):
                done += self._savepoint() if self._shop.chance(0.2) else self._happen()
        if given_up:
            self.done[ROLLED_BACK] += done.total()
            return
        self.done += done
        self.done[TRANSACTIONS] += 1

    def _savepoint(self) -> Counter[str]:
        """One or two happenings inside a savepoint, which is rolled back half the time."""
        given_up = self._shop.chance(0.5)
        done: Counter[str] = Counter()
        with self._connection.transaction(force_rollback=given_up):
            for _ in range(self._rng.randint(1, 2)):
                done += self._happen()
        return Counter({ROLLED_BACK: done.total()}) if given_up else done

    def _happen(self) -> Counter[str]:
        happening = self._rng.choices(HAPPENINGS, self._weights)[0]
        return Counter([happening.name if happening.act(self._shop) else NOTHING])


@contextmanager
def writing(database: str, rng: random.Random, *, rate: float) -> Generator[ShopWriter]:
    """A writer on a thread of its own, which ends with the block; what it raised is raised then."""
    stop = threading.Event()
    failures: list[BaseException] = []
    with psycopg.connect(database, autocommit=True) as connection:
        writer = ShopWriter(connection, rng, rate=rate)

        def write() -> None:
            try:
                writer.run(stop=stop)
            except Exception as error:  # noqa: BLE001  # raised after the thread has ended
                failures.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield writer
        finally:
            stop.set()
            thread.join()
    if failures:
        raise failures[0]
