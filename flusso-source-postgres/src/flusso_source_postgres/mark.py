"""What flusso remembers of its own doing, as a comment on the publication that it has made.

A publication without the mark is someone else's, and is never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import LiteralString

import psycopg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flusso_core.model import TableName
from flusso_source_postgres.catalogue import IdentityKind, Storage
from flusso_source_postgres.connection import source_error
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.text import identifier, literal

_COMMENT: LiteralString = """
SELECT pg_catalog.obj_description(oid, 'pg_publication')
FROM pg_catalog.pg_publication WHERE pubname = %s
"""


class Identity(BaseModel):
    """A table whose replica identity flusso has set, and what it was before, as SQL."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_name: str = Field(alias="schema")
    table: str
    before: str

    @property
    def name(self) -> TableName:
        """The table."""
        return TableName(self.schema_name, self.table)


class Mark(BaseModel):
    """The comment: JSON, so that a person can read it too."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    made_by: str = Field(default="flusso", pattern="^flusso$")
    identities: tuple[Identity, ...] = ()

    def with_identities(self, storages: Sequence[Storage]) -> Mark:
        """The mark with further tables, as they were before they were set."""
        known = {one.name for one in self.identities}
        more = (
            Identity(schema=one.name.schema, table=one.name.name, before=identity_sql(one))
            for one in storages
            if one.name not in known
        )
        return Mark(identities=(*self.identities, *more))


def identity_sql(storage: Storage) -> str:
    """A table's replica identity, as ALTER TABLE … REPLICA IDENTITY takes it."""
    if storage.identity.kind is IdentityKind.INDEX:
        for index in storage.indexes:
            if index.identity:
                return f"USING INDEX {identifier(index.name)}"
    names: Mapping[IdentityKind, str] = {
        IdentityKind.NOTHING: "NOTHING",
        IdentityKind.FULL: "FULL",
    }
    return names.get(storage.identity.kind, "DEFAULT")


async def read_mark(session: Session, publication: str) -> Mark | None:
    """The mark on a publication; `None` where there is no such publication, or no mark.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    rows = await session.rows(_COMMENT, [publication], doing="read the publication's comment")
    if not rows or rows[0][0] is None:
        return None
    try:
        return Mark.model_validate_json(rows[0][0])
    except ValidationError:
        return None


async def remember(
    session: Session, publication: str, storages: Sequence[Storage], *, made: bool
) -> None:
    """Note on the publication what was done, if it is flusso's own.

    Args:
        session: where to note it.
        publication: its name.
        storages: as they were before they were given another replica identity.
        made: the publication was made just now.

    Raises:
        SourceUnavailable: the connection was lost.
        SourceFatal: the server refuses.
    """
    mark = await read_mark(session, publication)
    if mark is None and not made:
        return
    noted = (mark or Mark()).with_identities(storages)
    if noted == mark:
        return
    comment = literal(noted.model_dump_json(by_alias=True))
    statement = f"COMMENT ON PUBLICATION {identifier(publication)} IS {comment}"
    connection = await session.connection()
    try:
        await connection.execute(statement.encode())
    except psycopg.Error as error:
        raise source_error(error, "comment on the publication") from error
