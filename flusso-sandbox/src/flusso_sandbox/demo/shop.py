"""The example shop: its files, its tables in a database, the changes that happen in it.

The files are those of `examples/shop`: in a checkout through a link, in a wheel as a copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from flusso_sandbox.errors import SandboxError

FOLDER = Path(__file__).with_name("shop")
"""The folder with `flusso.toml`, the schema files and the SQL."""

INDEXES = ("users", "products", "orders")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_SUMMARY = 78
_CREATED = re.compile(r"^CREATE (TABLE|TYPE) (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ShopChange:
    """One statement of `sql/changes.sql`.

    Attributes:
        name: what happens, in words.
        statement: the SQL.
    """

    name: str
    statement: str

    @property
    def summary(self) -> str:
        """The beginning of the statement, on one line."""
        lines = [line for line in self.statement.splitlines() if not line.startswith("--")]
        text = " ".join(" ".join(lines).split())
        return text if len(text) <= _SUMMARY else f"{text[: _SUMMARY - 2]} …"


def read_changes() -> list[ShopChange]:
    """What happens in the shop one day, in order."""
    parts = _read("sql/changes.sql").split("-- change: ")[1:]
    cut = (part.partition("\n") for part in parts)
    return [ShopChange(name.strip(), statement.strip()) for name, _, statement in cut]


def expected_query(index: str) -> str:
    """SQL that gives `(id, document)` for every document that an index must hold now."""
    return _read(f"expected/{index}.sql")


def refuse_existing(connection: Connection) -> None:
    """See to it that loading the shop would touch nothing that is there.

    Raises:
        SandboxError: a table or type of one of the shop's names exists.
    """
    names = [name for _, name in _created()]
    rows = connection.execute(
        "SELECT typname FROM pg_catalog.pg_type"
        " WHERE typnamespace = 'public'::regnamespace AND typname = ANY(%s) ORDER BY 1",
        [names],
    ).fetchall()
    if rows:
        found = ", ".join(name for (name,) in rows)
        msg = (
            f"the database {connection.info.dbname} holds {found} already, and the demo writes "
            "over nothing: create an empty database and name that in --postgres-url"
        )
        raise SandboxError(msg)


def create_tables(connection: Connection) -> None:
    """Create the shop's tables: all of them or none."""
    connection.execute("SET search_path = public")
    connection.execute(_read("sql/tables.sql").encode())


def fill_tables(connection: Connection, users: int) -> None:
    """Fill the shop's tables.

    Args:
        connection: to the database.
        users: how many of them; everything else follows.
    """
    connection.execute("SELECT set_config('shop.users', %s, false)", [str(users)])
    connection.execute(_read("sql/seed.sql").encode())


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table of the shop has."""
    counts: dict[str, int] = {}
    for kind, name in _created():
        if kind == "TABLE":
            query = sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name))
            row = connection.execute(query).fetchone()
            counts[name] = row[0] if row else 0
    return counts


def drop_tables(connection: Connection) -> None:
    """Drop what `create_tables` made."""
    for kind, name in reversed(_created()):
        drop = "DROP TABLE public.{} CASCADE" if kind == "TABLE" else "DROP TYPE public.{}"
        connection.execute(sql.SQL(drop).format(sql.Identifier(name)))


def _created() -> list[tuple[str, str]]:
    """Kind and name of everything that `sql/tables.sql` creates, in order."""
    return _CREATED.findall(_read("sql/tables.sql"))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
