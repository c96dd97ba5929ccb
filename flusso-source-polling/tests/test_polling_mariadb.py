"""A real MariaDB: values as they are stored, keys as they are spelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from flusso_core.errors import ConfigError, SchemaMismatch, SourceFatal, SourceUnavailable
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, IndexKeys, KeyRange, Operation, Severity, TableName
from flusso_core.schema import parse_schema
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

pytestmark = pytest.mark.integration

EXACT = "varchar(200) COLLATE utf8mb4_nopad_bin"


class Client:
    """The database by its own driver."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    def execute(self, *statements: str) -> Sequence[Any]:
        """Do the statements one by one, each in a transaction of its own; rows of the last one."""
        # Here, as it is not there where the package's unit tests run without servers.
        import pymysql

        parts = self._parts
        connection = pymysql.connect(
            host=parts.hostname or "",
            port=parts.port or 0,
            user=parts.username,
            password=unquote(parts.password or ""),
            database=parts.path[1:],
            charset="utf8mb4",
            autocommit=True,
        )
        with connection, connection.cursor() as cursor:
            for text in statements:
                cursor.execute(text)
            return cursor.fetchall() if cursor.description else ()


def builder(url: str, *schemas: str) -> PollingBuilder:
    parsed = tuple(parse_schema(one, f"i{n}", f"i{n}.yml") for n, one in enumerate(schemas))
    return PollingBuilder(
        SourceContext(PollingOptions.model_validate({"connection_url": url}), parsed)
    )


async def documents(url: str, schema: str) -> dict[str, Any]:
    """What is read page by page, numbers exact."""
    async with builder(url, schema) as reading:
        assert not reading.unfit()
        page = await reading.page("i0", KeyRange(), None, 100)
    return {
        key[0]: json.loads(body, parse_float=Decimal)
        for key, body in page.documents
        if body is not None
    }


CONTROLS = "".join(map(chr, (*range(128), 0x2028, 0xFEFF)))
VALUES: tuple[tuple[str, str, str, Any], ...] = (
    ("TINYINT(1)", "boolean", "1", True),
    ("TINYINT(1)", "integer", "7", 7),
    ("TINYINT UNSIGNED", "short", "255", 255),
    ("BIGINT", "long", "-9223372036854775808", -(2**63)),
    ("BIGINT UNSIGNED", "long", "18446744073709551615", 2**64 - 1),
    ("DECIMAL(40, 12)", "decimal", "1234567890123456789012345678.123456789012",
     Decimal("1234567890123456789012345678.123456789012")),
    ("DECIMAL(5, 2)", "keyword", "1.10", "1.10"),
    ("DOUBLE", "double", "0.1", Decimal("0.1")),
    ("DOUBLE", "double", "1.7976931348623157e308", Decimal("1.7976931348623157e308")),
    ("FLOAT", "float", "3.1415927", Decimal("3.1415927")),
    ("FLOAT", "float", "16777216", 16777216),
    ("DATE", "date", "'2024-02-29'", "2024-02-29"),
    ("DATE", "date", "'0000-00-00'", None),
    ("DATETIME", "timestamp", "'2024-02-29 01:02:03'", "2024-02-29T01:02:03"),
    ("DATETIME(6)", "timestamp", "'2024-02-29 01:02:03.500'", "2024-02-29T01:02:03.5"),
    ("TIMESTAMP(3) NULL", "timestamp", "'2024-02-29 01:02:03.004'",
     "2024-02-29T01:02:03.004+00:00"),
    ("TIME", "keyword", "'-838:59:59'", "-838:59:59"),
    ("YEAR", "integer", "2024", 2024),
    ("BIT(1)", "boolean", "1", True),
    ("BIT(4)", "keyword", "5", "0101"),
    ("ENUM('a', 'ü')", "enum", "'ü'", "ü"),
    ("SET('a', 'b')", "keyword", "'a,b'", "a,b"),
    ("CHAR(5)", "keyword", "'a'", "a"),
    ("VARCHAR(20) CHARACTER SET latin1", "keyword", "'ÄÖ'", "ÄÖ"),
    ("TEXT", "text", "'quote \" slash \\\\ line \\n 😀'", 'quote " slash \\ line \n 😀'),
    ("VARCHAR(20) CHARACTER SET utf16", "keyword", "'Ä😀'", "Ä😀"),
    ("VARCHAR(20) CHARACTER SET sjis", "keyword", "'表'", "表"),
    ("TEXT", "text", f"x'{CONTROLS.encode().hex()}'", CONTROLS),
    ("LONGTEXT", "text", f"x'{CONTROLS.encode().hex()}'", CONTROLS),
    ("INT(5) ZEROFILL", "integer", "42", 42),
    ("DECIMAL(6, 2) ZEROFILL", "decimal", "4.20", Decimal("4.20")),
    ("VARBINARY(10)", "binary", "x'00ff'", "AP8="),
    ("BLOB", "binary", "''", ""),
    ("UUID", "uuid", "'A0000000-0000-4000-8000-00000000000A'",
     "a0000000-0000-4000-8000-00000000000a"),
    ("INET6", "keyword", "'::1'", "::1"),
    ("JSON", "json", """'{"a": 1.10, "b": ["é"]}'""", {"a": Decimal("1.10"), "b": ["é"]}),
    ("JSON", "json", "'null'", None),
    ("INT", "keyword", "NULL", None),
)  # fmt: skip


async def test_values_arrive_as_they_are_stored(mariadb_database: str) -> None:
    """V4: each type of column, by every digit."""
    columns = ", ".join(f"c{n} {kind}" for n, (kind, _, _, _) in enumerate(VALUES))
    values = ", ".join(literal for _, _, literal, _ in VALUES)
    Client(mariadb_database).execute(
        f"CREATE TABLE things (id INT PRIMARY KEY, {columns})",
        "SET sql_mode = ''",
        "SET time_zone = '+00:00'",
        f"INSERT INTO things VALUES (1, {values})",
    )
    fields = "\n".join(f"  - {field}: c{n}" for n, (_, field, _, _) in enumerate(VALUES))
    found = await documents(mariadb_database, f"version: 1\ntable: things\nfields:\n{fields}\n")
    named = {f"c{n}": (kind, one) for n, (kind, _, _, one) in enumerate(VALUES)}
    assert {name: (named[name][0], one) for name, one in found["1"].items()} == named


ALIKE = "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
FAMILY = """
version: 1
table: parents
filters: [{ column: name, op: in, value: [Ann, Bob] }]
fields:
  - keyword: id
  - has_many: children
    table: children
    foreign_key: parent
    order_by: [{ column: id }]
    fields:
      - keyword: id
      - belongs_to: parent
        table: parents
        column: parent
        fields: [{ keyword: name }]
  - count: number
    table: children
    foreign_key: parent
  - many_to_many: friends
    table: parents
    through: { table: friends, left_key: one, right_key: other }
    fields: [{ keyword: name }]
  - many_to_many: tags
    table: tags
    through: { table: tagged, left_key: one, right_key: tag }
    fields: [{ keyword: label }]
"""


async def test_keys_and_filters_are_exact_where_collations_ignore_case(
    mariadb_database: str,
) -> None:
    """V2: 'a' is neither 'A' nor 'a ' nor 'á', whatever the columns hold for equal."""
    latin = "varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci"
    Client(mariadb_database).execute(
        f"CREATE TABLE parents (id {EXACT} PRIMARY KEY, name {ALIKE})",
        f"CREATE TABLE children (id INT PRIMARY KEY, parent {ALIKE}, INDEX (parent))",
        f"CREATE TABLE friends (id INT PRIMARY KEY, one {latin}, other {ALIKE})",
        f"CREATE TABLE tags (label {latin} PRIMARY KEY)",
        f"CREATE TABLE tagged (id INT PRIMARY KEY, one {EXACT}, tag {ALIKE})",
        "INSERT INTO tags VALUES ('x'), ('é')",
        "INSERT INTO tagged VALUES (1, 'a', 'x'), (2, 'a', 'X'), (3, 'a', 'é'), (4, 'A', '田')",
        "INSERT INTO parents VALUES ('a', 'Ann'), ('A', 'Bob'), ('b', 'ann'), ('á', 'Ann')",
        "INSERT INTO children VALUES (1, 'a'), (2, 'A'), (3, 'A'), (4, 'a '), (5, 'á'), (6, 'b')",
        "INSERT INTO friends VALUES (1, 'a', 'A'), (2, 'A', 'á'), (3, 'A', 'A '), (4, 'b', 'a')",
    )
    found = await documents(mariadb_database, FAMILY)

    def child(number: int, name: str) -> dict[str, Any]:
        return {"id": str(number), "parent": {"name": name}}

    assert found == {
        "a": {
            "id": "a",
            "children": [child(1, "Ann")],
            "number": 1,
            "friends": [{"name": "Bob"}],
            "tags": [{"label": "é"}, {"label": "x"}],
        },
        "A": {
            "id": "A",
            "children": [child(2, "Bob"), child(3, "Bob")],
            "number": 2,
            "friends": [{"name": "Ann"}],
            "tags": [],
        },
        "á": {
            "id": "á",
            "children": [child(5, "Ann")],
            "number": 1,
            "friends": [],
            "tags": [],
        },
    }
    moved = Change(TableName("public", "parents"), Operation.UPSERT, {"id": "A"}, {"id": "A"})
    async with builder(mariadb_database, FAMILY) as reading:
        keys = [
            key
            async for one in reading.resolve([moved])
            if isinstance(one, IndexKeys)
            for key in one.keys
        ]
        assert set(keys) == {("A",), ("a",)}
        assert await reading.missing("i0", ["a", "A", "á", "b", "Á"]) == [("b",), ("Á",)]


SUMS = """
version: 1
table: totals
fields:
  - sum: wide
    table: parts
    foreign_key: total
    column: wide
    value_type: decimal
  - avg: mean
    table: parts
    foreign_key: total
    column: number
  - avg: wide_mean
    table: parts
    foreign_key: total
    column: wide
  - min: least
    table: parts
    foreign_key: total
    column: number
    value_type: long
"""


async def test_sums_and_averages_lose_no_digit(mariadb_database: str) -> None:
    """V4: MariaDB's own average of whole numbers has four digits behind the point."""
    Client(mariadb_database).execute(
        "CREATE TABLE totals (id INT PRIMARY KEY)",
        "CREATE TABLE parts (id INT PRIMARY KEY, total INT, number INT, wide DECIMAL(40, 12))",
        "INSERT INTO totals VALUES (1), (2)",
        "INSERT INTO parts VALUES (1, 1, 1, 1234567890123456789012345678.123456789012), "
        "(2, 1, 1, 0.000000000001), (3, 1, 2, NULL), (4, 1, NULL, NULL)",
    )
    assert await documents(mariadb_database, SUMS) == {
        "1": {
            "wide": Decimal("1234567890123456789012345678.123456789013"),
            "mean": Decimal("1.3333333333333333"),
            "wide_mean": Decimal("6.172839450617284e+26"),
            "least": 1,
        },
        "2": {"wide": None, "mean": None, "wide_mean": None, "least": None},
    }


async def test_a_column_that_goes_stops_its_own_index_alone(mariadb_database: str) -> None:
    """C14."""
    client = Client(mariadb_database)
    client.execute(
        "CREATE TABLE one (id INT PRIMARY KEY, name TEXT)",
        "CREATE TABLE two (id INT PRIMARY KEY, name TEXT)",
        "INSERT INTO one VALUES (1, 'x')",
    )
    schema = "version: 1\ntable: {}\nfields: [{{ text: name }}]\n"
    async with builder(mariadb_database, schema.format("one"), schema.format("two")) as reading:
        client.execute("ALTER TABLE two DROP COLUMN name")
        with pytest.raises(SchemaMismatch, match="Unknown column") as caught:
            await reading.page("i1", KeyRange(), None, 10)
        assert caught.value.index == "i1"
        assert len((await reading.page("i0", KeyRange(), None, 10)).documents) == 1
    async with builder(mariadb_database, schema.format("one"), schema.format("two")) as reading:
        assert [one.index for one in reading.unfit()] == ["i1"]


async def test_what_is_wrong_is_said_without_the_password(mariadb_database: str) -> None:
    """R4: nobody may come in, nobody is there, and another variety of the URL."""
    schema = "version: 1\ntable: one\nfields: [{ text: name }]\n"
    parts = urlsplit(mariadb_database)
    secret = parts.password or ""
    wrong = mariadb_database.replace(secret, "hunter2")
    for url, error in (
        (wrong, SourceFatal),
        (mariadb_database.replace(parts.path, "/nowhere"), SourceFatal),
        (mariadb_database.replace(f":{parts.port}", ":9"), SourceUnavailable),
        (mariadb_database.replace("mariadb+", "mysql+"), ConfigError),
        (mariadb_database.replace(parts.path, "/"), ConfigError),
    ):
        with pytest.raises(error) as caught:
            await builder(url, schema).open()
        told = f"{caught.value}{caught.value.__cause__}"
        assert "hunter2" not in told
        assert unquote(secret) not in told


async def test_a_read_after_lost_connections_connects_anew(mariadb_database: str) -> None:
    """R1."""
    client = Client(mariadb_database)
    client.execute("CREATE TABLE one (id INT PRIMARY KEY, name TEXT)")
    async with builder(
        mariadb_database, "version: 1\ntable: one\nfields: [{ text: name }]\n"
    ) as it:
        assert await it.estimate("i0") == 0
        sessions = client.execute(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = database() AND id <> connection_id()"
        )
        assert sessions
        for (session,) in sessions:
            client.execute(f"KILL {session}")
        assert await it.estimate("i0") == 0


async def test_a_table_without_snapshots_is_named_where_a_schema_reads_it(
    mariadb_database: str, tmp_path: Path
) -> None:
    """C15: one that no schema names may be of any engine."""
    Client(mariadb_database).execute(
        "CREATE TABLE one (id INT PRIMARY KEY, name TEXT)",
        "CREATE TABLE two (id INT PRIMARY KEY, name TEXT) ENGINE = Aria",
    )

    async def told(table: str) -> list[str]:
        schema = parse_schema(f"version: 1\ntable: {table}\nfields: [{{ text: name }}]\n", "i", "f")
        given = {"connection_url": mariadb_database, "state": str(tmp_path / "state")}
        context = SourceContext(PollingOptions.model_validate(given), (schema,))
        findings = await PollingCapture(context).check()
        return [one.cure or "" for one in findings if one.severity is Severity.ERROR]

    assert await told("one") == []
    assert await told("two") == ["ALTER TABLE `two` ENGINE = InnoDB"]
