"""Comparing whole tables with what is known of their rows, span of keys by span."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from flusso_core.model import Change, Key
from flusso_source_polling.memory import Known, Memory, Span, read, spell
from flusso_source_polling.picture import Lens, Seen, Watch

_SHAPE = "shape"


class Comparison:
    """Reads a table from end to end, and says how it differs from what is known of it.

    Args:
        watch: what to look at.
        lens: reads it.
        page_size: rows that one statement reads, and that one span holds at most.
    """

    def __init__(self, watch: Watch, lens: Lens, page_size: int) -> None:
        self._watch = watch
        self._lens = lens
        self._page_size = page_size
        self.name = str(watch.table.name)

    def begin(self, connection: Connection, memory: Memory) -> None:
        """Read the whole table."""
        for _ in self._afresh(connection, memory):
            pass

    def poll(self, connection: Connection, memory: Memory, position: int) -> Iterator[Change]:
        """Read the whole table again."""
        if memory.note(_SHAPE) != self._shape:
            yield from self._reshaped(connection, memory)
            return
        for span in memory.spans():
            yield from self._compare(connection, memory, span)
        _join_empty(memory)

    def confirmed(self, connection: Connection, memory: Memory, position: int) -> None:
        """Nothing is kept for that."""

    @property
    def _shape(self) -> str:
        """What known rows are made of; those of another shape cannot be compared."""
        return spell([*self._watch.key, None, *self._watch.routing, None, *self._watch.content])

    def _afresh(self, connection: Connection, memory: Memory) -> Iterator[Change]:
        memory.clear()
        memory.write(_SHAPE, self._shape)
        yield from self._compare(connection, memory, Span(0, None, None))

    def _reshaped(self, connection: Connection, memory: Memory) -> Iterator[Change]:
        """The schemas ask for other columns: what was known leads up once more, and every row."""
        names = read(memory.note(_SHAPE) or "[]")
        first = names.index(None) if None in names else 0
        old = tuple(name for name in names[:first] if name is not None)
        rest = names[first + 1 :]
        second = rest.index(None) if None in rest else 0
        routing = tuple(name for name in rest[:second] if name is not None)
        was = Watch(self._watch.table, old, routing, (), frozenset((*old, *routing)))
        for key, row in memory.all_rows():
            yield was.deleted(key, row)
        yield from self._afresh(connection, memory)

    def _compare(self, connection: Connection, memory: Memory, span: Span) -> Iterator[Change]:
        """Read a span, and cut it where it has become too large."""
        known = memory.rows_of(span)
        fresh = max((one.id for one in memory.spans()), default=0)
        for lower, upper, rows in self._pieces(connection, span):
            if upper == span.upper:
                piece = Span(span.id, lower, upper)
            else:
                fresh += 1
                piece = Span(fresh, lower, upper)
            if piece != span or not memory.has(span):
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
