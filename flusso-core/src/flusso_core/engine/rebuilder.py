"""Building named documents anew, whether a change has told of them or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flusso_core.engine.admission import Admission
from flusso_core.engine.flights import Flights
from flusso_core.engine.ledger import Debtor, Ledger, Target
from flusso_core.engine.payments import Payments
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Schemas
from flusso_core.errors import SchemaMismatch
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import Key, KeyRange, StrayKey, document_id_text, key_of_id

_PIECE = 1000
"""Documents that are looked up and marked at once."""


class Rebuilder:
    """Marks documents in every live generation, as a debt of its own.

    Args:
        schemas: the builders.
        live: the live generations of an index that a builder builds.
        ledger: what is owed.
        payments: tells when all of it has landed.
        admission: what waits for a flight is bounded.
        flights: build and write what is marked.
        progressed: to be called whenever the ledger has changed.
        unfit: told of a generation whose schema no longer fits its tables.
        retrier: how failures that pass are tried again.
    """

    def __init__(
        self,
        *,
        schemas: Schemas,
        live: Callable[[DocumentBuilder, str], Sequence[Target]],
        ledger: Ledger,
        payments: Payments,
        admission: Admission,
        flights: Flights,
        progressed: Callable[[], None],
        unfit: Callable[[Target, SchemaMismatch], None],
        retrier: Retrier,
    ) -> None:
        self._schemas = schemas
        self._live = live
        self._ledger = ledger
        self._payments = payments
        self._admission = admission
        self._flights = flights
        self._progressed = progressed
        self._unfit = unfit
        self._retrier = retrier

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Have documents of an index built anew; returns when all of them have landed.

        Args:
            index: the logical name.
            documents: by their keys or their ids; they may have no row, or be no key at all.
        """
        debtor = self._ledger.open_debtor()
        landed = self._payments.expect(debtor)
        try:
            for builder in self._schemas.builders:
                try:
                    await self._mark(builder, index, documents, debtor)
                except SchemaMismatch as mismatch:
                    for target in self._live(builder, index):
                        self._unfit(target, mismatch)
        finally:
            self._ledger.seal(debtor)
            self._progressed()
        await landed

    async def _mark(
        self,
        builder: DocumentBuilder,
        index: str,
        documents: Sequence[Key | str],
        debtor: Debtor,
    ) -> None:
        columns: int | None = None
        for at in range(0, len(documents), _PIECE):
            if not self._live(builder, index):
                return
            if columns is None:
                columns = await self._retrier.run(
                    f"reading {index}", partial(key_columns, builder, index)
                )
            piece = documents[at : at + _PIECE]
            keys = await self._retrier.run(
                f"looking up ids of {index}", partial(buildable, builder, index, piece, columns)
            )
            await self._admission.wait(keys)
            # Only now: generations may have come and gone meanwhile.
            for target in self._live(builder, index):
                self._ledger.mark(target, keys, debtor)
            self._flights.wake()


async def key_columns(builder: DocumentBuilder, index: str) -> int:
    """How many columns the key of an index's rows has; 1 where no row could tell."""
    page = await builder.page(index, KeyRange(), None, 1)
    keys = [page.cursor, *(key for key, _ in page.documents)]
    return next((len(key) for key in keys if key is not None), 1)


async def buildable(
    builder: DocumentBuilder, index: str, documents: Sequence[Key | str], columns: int
) -> list[Key]:
    """The keys of documents as the builder takes them, each once.

    What no row has is asked for by its id, so that a text which is no key at all never reaches a
    build. An id that is a digest tells no key: where a row has it, its document stays as it is.

    Args:
        builder: knows the rows.
        index: the logical name.
        documents: keys or ids.
        columns: of a row's key.
    """
    found: dict[str, Key] = {}
    for one in documents:
        text = one if isinstance(one, str) else document_id_text(one)
        if isinstance(one, str) or len(one) != columns:
            found[text] = key_of_id(text, columns) or StrayKey((text,))
        else:
            found[text] = one
    for key in await builder.missing(index, list(found)):
        found[document_id_text(key)] = key
    return list(found.values())
