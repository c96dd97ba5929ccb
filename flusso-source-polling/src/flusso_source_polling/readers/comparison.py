"""Comparing whole tables with what is known of their rows, span of keys by span."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection

from flusso_core.model import Change, Key
from flusso_source_polling.memory import Known, Memory, Span, read, spell
from flusso_source_polling.picture import Lens, Seen, Watch
from flusso_source_polling.readers.base import Poll

_SHAPE = "shape"


class Comparison:
    """Reads a table from end to end, and says how it differs from what is known of it.

    Where the database can, it hashes spans of keys, and only those that differ are read.

    Args:
        watch: what to look at.
        lens: reads it.
        page_size: rows that one statement reads, and that one span holds at most.
        snapshot: all of it is read in one transaction, and with the tables beside it. Otherwise
            each span has one of its own.
    """

    unfinished = False
    tidies = False

    def __init__(self, watch: Watch, lens: Lens, page_size: int, *, snapshot: bool) -> None:
        self._watch = watch
        self._lens = lens
        self._page_size = page_size
        self._snapshot = snapshot
        self._remaining: list[Span] = []
        self.name = str(watch.table.name)

    def begin(self, connection: Connection, memory: Memory) -> None:
        """Read the whole table."""
        for _ in self._afresh(connection, memory):
            pass

    def poll(self, connection: Connection, memory: Memory, poll: Poll) -> Iterator[Change]:
        """Read the whole table again."""
        if self.fits(memory):
            self.start_over(memory)
            yield from self.go_on(connection, memory, lambda: True)
        else:
            yield from self.reshape(connection, memory)

    def confirmed(self, connection: Connection, memory: Memory, position: int) -> None:
        """Nothing is kept for that."""

    def fits(self, memory: Memory) -> bool:
        """Whether what is known was read for the same schemas."""
        return memory.note(_SHAPE) == self._shape

    def reshape(self, connection: Connection, memory: Memory) -> Iterator[Change]:
        """Other columns or another cursor: what was known leads up once more, and every row."""
        names = read(memory.note(_SHAPE) or "[]")
        key, routing, *_ = _parts(names)
        was = Watch(self._watch.table, key, routing, (), frozenset((*key, *routing)))
        for text, row in memory.all_rows():
            yield was.deleted(text, row)
        yield from self._afresh(connection, memory)

    @property
    def passing(self) -> bool:
        """Whether a pass over all keys has begun and not ended."""
        return bool(self._remaining)

    def start_over(self, memory: Memory) -> None:
        """Begin a pass over all keys."""
        memory.suspect()
        self._remaining = memory.spans()

    def go_on(
        self, connection: Connection, memory: Memory, patient: Callable[[], bool]
    ) -> Iterator[Change]:
        """Go on with the pass, one span at least, as long as there is patience.

        Rows that a cursor has brought since the last pass, and that stand in no span of this one,
        are gone.
        """
        while self._remaining:
            span = self._remaining.pop()
            digest = self._lens.digest(connection, span.lower, span.upper)
            if digest is None or digest != span.digest:
                yield from self._compare(connection, memory, span, digest)
            self._breathe(connection)
            if not patient():
                break
        if self._remaining:
            return
        while gone := memory.suspects(self._page_size):
            memory.forget(gone)
            for key, row in gone.items():
                yield self._watch.deleted(key, row)
        _join_empty(memory)

    def _breathe(self, connection: Connection) -> None:
        """End the transaction: spans need not be of one snapshot."""
        if not self._snapshot:
            connection.rollback()

    @property
    def _shape(self) -> str:
        """What known rows are made of; those of another shape cannot be compared."""
        cursor = self._lens.cursor
        followed = "" if cursor is None else cursor.name
        content = () if self._lens.marked else self._watch.content
        return spell([*self._watch.key, None, *self._watch.routing, None, *content, None, followed])

    def _afresh(self, connection: Connection, memory: Memory) -> Iterator[Change]:
        memory.clear()
        memory.write(_SHAPE, self._shape)
        everything = Span(0, None, None)
        digest = self._lens.digest(connection, None, None)
        yield from self._compare(connection, memory, everything, digest)
        self._breathe(connection)

    def _compare(
        self, connection: Connection, memory: Memory, span: Span, digest: str | None
    ) -> Iterator[Change]:
        """Read a span, and cut it where it has become too large.

        Args:
            connection: to the database.
            memory: what is known.
            span: which.
            digest: its digest, not of later than now.
        """
        known = memory.rows_of(span)
        spans = set(memory.spans())
        fresh = max((one.id for one in spans), default=0)
        for lower, upper, rows in self._pieces(connection, span):
            if upper == span.upper:
                whole = lower == span.lower
                piece = Span(span.id, lower, upper, digest if whole else None)
            else:
                fresh += 1
                piece = Span(fresh, lower, upper)
            if piece not in spans:
                memory.put_span(piece)
            yield from self._compare_rows(memory, piece, rows, known, span)
        memory.forget(known)
        for key, row in known.items():
            yield self._watch.deleted(key, row)

    def _compare_rows(
        self,
        memory: Memory,
        piece: Span,
        rows: Sequence[Seen],
        known: dict[str, Known],
        span: Span,
    ) -> Iterator[Change]:
        new = [one.text for one in rows if one.text not in known]
        elsewhere = memory.rows(new) if new else {}
        learned: list[tuple[str, Known]] = []
        for one in rows:
            was = known.pop(one.text, None)
            if was is None or piece.id != span.id or was != one.row:
                learned.append((one.text, one.row))
            was = was or elsewhere.get(one.text)
            if was != one.row:
                yield self._watch.upserted(one, was)
        memory.learn(piece, learned)

    def _pieces(
        self, connection: Connection, span: Span
    ) -> Iterator[tuple[Key | None, Key | None, Sequence[Seen]]]:
        """The rows of a span; half a page at a time where they fill more than one."""
        size = self._page_size
        lower = span.lower
        page = self._lens.page(connection, lower, span.upper, size)
        while len(page) == size:
            following = self._lens.page(connection, page[-1].key, span.upper, size)
            half = size // 2
            if half:
                yield lower, page[half - 1].key, page[:half]
                lower = page[half - 1].key
            if not following:
                page = page[half:]
                break
            yield lower, page[-1].key, page[half:]
            lower = page[-1].key
            page = following
        yield lower, span.upper, page


def _parts(names: Sequence[str | None]) -> list[tuple[str, ...]]:
    """A shape's key, routing columns, content and cursor."""
    found: list[list[str]] = [[]]
    for name in names:
        if name is None:
            found.append([])
        else:
            found[-1].append(name)
    return [tuple(part) for part in found]


def _join_empty(memory: Memory) -> None:
    """Let a span without rows become a part of the one before it."""
    empty = memory.empty_spans()
    if not empty:
        return
    behind = {span.lower: span for span in memory.spans()}
    last: Span | None = None
    lower: Key | None = None
    while span := behind.pop(lower, None):
        lower = span.upper
        if last is not None and span.id in empty:
            memory.drop_span(span)
            last = last._replace(upper=span.upper)
            memory.put_span(last)
        else:
            last = span
        if lower is None:
            return
