"""Who waits for what the ledger owes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flusso_core.engine.ledger import Debtor


class Payments:
    """Tells those who wait for a page or a sweep that all that is owed to it has landed."""

    def __init__(self) -> None:
        self._expected: dict[Debtor, Callable[[], None]] = {}

    def expect(
        self, debtor: Debtor, paid: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """A future that is done when the debtor is paid; `paid` is called in that instant."""
        future = asyncio.get_running_loop().create_future()

        def settle() -> None:
            if paid is not None:
                paid()
            if not future.done():
                future.set_result(None)

        self._expected[debtor] = settle
        return future

    def settle(self, debtor: Debtor) -> bool:
        """The debtor is paid; returns whether anybody had expected that."""
        settle = self._expected.pop(debtor, None)
        if settle is None:
            return False
        settle()
        return True
