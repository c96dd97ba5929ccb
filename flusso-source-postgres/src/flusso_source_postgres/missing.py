"""Which document ids have no row: for the end of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from flusso_core.model import Key, StrayKey, document_id_text, key_of_id
from flusso_source_postgres.connection import StatementRefused
from flusso_source_postgres.sql.compiled import CompiledIndex
from flusso_source_postgres.statements import Statements

_DIGEST = "~sha256:"


async def find(statements: Statements, compiled: CompiledIndex, ids: Sequence[str]) -> list[Key]:
    """The keys of those ids that no qualifying row has; `StrayKey` where no key can be told."""
    keys: list[Key] = []
    digests: list[str] = []
    found: list[Key] = []
    for text in ids:
        key = key_of_id(text, compiled.key_size)
        if key is not None:
            keys.append(key)
        elif text.startswith(_DIGEST):
            digests.append(text.removeprefix(_DIGEST))
        else:
            found.append(StrayKey((text,)))
    if digests:
        doing = f"look up hashed ids of index {compiled.schema.index!r}"
        rows = await statements.keys(compiled.digests, [digests], doing)
        there = {row[0] for row in rows}
        found += [StrayKey((_DIGEST + one,)) for one in digests if one not in there]
    if keys:
        found += await _without_row(statements, compiled, keys)
    return found


async def _without_row(
    statements: Statements, compiled: CompiledIndex, keys: list[Key]
) -> list[Key]:
    columns = [list(texts) for texts in zip(*keys, strict=True)]
    doing = f"look up ids of index {compiled.schema.index!r}"
    try:
        rows = await statements.keys(compiled.missing, columns, doing)
    except StatementRefused as error:
        if not isinstance(error.__cause__, psycopg.DataError):
            raise
        # A text that the key's type does not take. There are few: they are found by halving.
        if len(keys) == 1:
            return [_stray(keys[0])]
        middle = len(keys) // 2
        return [
            *await _without_row(statements, compiled, keys[:middle]),
            *await _without_row(statements, compiled, keys[middle:]),
        ]
    missing = [(keys[int(number) - 1], spelled == "t") for number, spelled in rows]
    return [key if spelled else _stray(key) for key, spelled in missing]


def _stray(key: Key) -> StrayKey:
    return StrayKey((document_id_text(key),))
