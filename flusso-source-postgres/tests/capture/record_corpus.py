"""Records the frames of `corpus/`: what each server sends for one story, by each protocol.

Run it where flusso-sandbox can start every version:

```sh
.venv/bin/python flusso-source-postgres/tests/capture/record_corpus.py
```

A file holds the recordings of one server: its version, and for each protocol the options of
START_REPLICATION and the frames, as base64 of an xz stream of `length (4 bytes), frame`.
"""

from __future__ import annotations

import base64
import json
import lzma
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import pq

CORPUS = Path(__file__).parent / "corpus"

PROTOCOLS = {
    1: {},
    2: {"streaming": "on", "messages": "true"},
    3: {"streaming": "on", "two_phase": "on", "messages": "true"},
    4: {"streaming": "parallel", "two_phase": "on", "messages": "true"},
}
SINCE = {4: 160000}
"""The first server with a protocol, where that is not all of them."""

MANY = 550
"""Rows of a transaction that does not fit into the 64 kB of `logical_decoding_work_mem`."""

TABLES = """
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TABLE users (id bigint PRIMARY KEY, name text, paint color);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, note text);
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE visits (id bigint, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visits_2024 PARTITION OF visits FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE unrelated (a int PRIMARY KEY);
CREATE PUBLICATION corpus FOR TABLE users, orders, visits, unrelated
    WITH (publish_via_partition_root = true);
SELECT pg_replication_origin_create('over there')
    WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'over there');
"""

# Each line is a transaction, except that one of several statements begins and ends its own.
STORY = (
    "INSERT INTO users VALUES (1, 'é \"1\"', 'red'), (2, NULL, NULL)",
    "INSERT INTO orders VALUES (10, 1, repeat('x', 3000)), (11, NULL, '')",
    "UPDATE users SET id = 3 WHERE id = 2",
    "UPDATE users SET name = 'b' WHERE id = 1",
    "UPDATE orders SET user_id = 3 WHERE id = 10",
    "DELETE FROM orders WHERE id = 11",
    (
        "BEGIN; INSERT INTO users VALUES (4); SAVEPOINT s; INSERT INTO users VALUES (5);"
        "ROLLBACK TO s; INSERT INTO users VALUES (6); COMMIT"
    ),
    "INSERT INTO visits VALUES (1, '2024-02-03'), (2, '2025-02-03')",
    "UPDATE visits SET day = '2025-12-31' WHERE id = 1",
    "DELETE FROM visits WHERE id = 2",
    "INSERT INTO unrelated VALUES (1)",
    "ALTER TABLE orders ADD extra int DEFAULT 5",
    "INSERT INTO orders VALUES (12, 4, 'wider')",
    "SELECT pg_logical_emit_message(true, 'corpus', 'a message')",
    (
        "SELECT pg_replication_origin_session_setup('over there');"
        "BEGIN; SELECT pg_replication_origin_xact_setup('0/4D2', '2024-01-02 03:04:05+00');"
        "INSERT INTO users VALUES (7); COMMIT; SELECT pg_replication_origin_session_reset()"
    ),
    "BEGIN; INSERT INTO users VALUES (8); PREPARE TRANSACTION 'kept'",
    "BEGIN; INSERT INTO users VALUES (9); PREPARE TRANSACTION 'dropped'",
    "ROLLBACK PREPARED 'dropped'",
    "COMMIT PREPARED 'kept'",
    "TRUNCATE users, orders",
)
LARGE = (
    # Rolled back in part, then as a whole, then prepared: after it was sent, if it is streamed.
    ("BEGIN; SAVEPOINT s; {many}", "ROLLBACK TO s; INSERT INTO users VALUES (1); COMMIT"),
    ("BEGIN; {many}", "ROLLBACK"),
    ("BEGIN; {many}", "PREPARE TRANSACTION 'large'; COMMIT PREPARED 'large'"),
    ("BEGIN; DELETE FROM users WHERE id > 1; {many}", "COMMIT"),
)
INSERTS = f"INSERT INTO users SELECT g FROM generate_series(2, {MANY + 1}) g"
END = "INSERT INTO visits VALUES (99, '2024-09-09')"


@dataclass
class Reader:
    """A replication connection that keeps every frame."""

    connection: pq.abc.PGconn
    frames: list[bytes]

    @classmethod
    def start(cls, url: str, slot: str, protocol: int) -> Reader:
        parameters = {"proto_version": str(protocol), "publication_names": "corpus"}
        parameters |= PROTOCOLS[protocol]
        options = ", ".join(f"{name} '{value}'" for name, value in parameters.items())
        connection = pq.PGconn.connect(f"{url}?replication=database".encode())
        command = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})"
        result = connection.exec_(command.encode())
        assert result.status == pq.ExecStatus.COPY_BOTH, connection.get_error_message()
        return cls(connection, [])

    def read_until(self, met: Callable[[Sequence[bytes]], bool]) -> None:
        deadline = time.monotonic() + 20
        while not met(self.frames):
            assert time.monotonic() < deadline, "the server does not send what was expected"
            self.connection.consume_input()
            while (got := self.connection.get_copy_data(1))[0] > 0:
                self.frames.append(bytes(got[1]))
            time.sleep(0.005)


def record(url: str, protocol: int) -> list[bytes]:
    """The frames that the server sends for the story by one protocol."""
    streams, two_phase = protocol >= 2, protocol >= 3
    with psycopg.connect(url, autocommit=True) as writer:
        writer.execute(TABLES)
        slot = f"corpus_{protocol}"
        writer.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, %s)",
            [slot, two_phase],
        )
        reader = Reader.start(url, slot, protocol)
        for statement in STORY:
            for part in statement.split("; "):
                writer.execute(part.encode())
        for before, after in LARGE:
            blocks = _blocks(reader.frames)
            for part in before.format(many=INSERTS).split("; "):
                writer.execute(part.encode())
            if streams:
                reader.read_until(lambda frames, seen=blocks: _blocks(frames) > seen)  # type: ignore[misc]
            for part in after.split("; "):
                writer.execute(part.encode())
        writer.execute(END.encode())
        reader.read_until(lambda frames: b"2024-09-09" in b"".join(frames[-3:]))
        reader.connection.finish()
        return reader.frames


def _blocks(frames: Sequence[bytes]) -> int:
    return sum(frame[0:1] == b"w" and frame[25:26] == b"E" for frame in frames)


def packed(frames: Sequence[bytes]) -> str:
    data = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    return base64.b64encode(lzma.compress(data, preset=9)).decode()


def unpacked(text: str) -> list[bytes]:
    data = lzma.decompress(base64.b64decode(text))
    frames: list[bytes] = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        frames.append(data[4:end])
        data = data[end:]
    return frames


def main() -> None:
    """Record every version."""
    # Reading the corpus needs no server.
    from flusso_sandbox.postgres import PostgresServer
    from flusso_sandbox.postgres_files import POSTGRES_VERSIONS

    for version in POSTGRES_VERSIONS:
        with PostgresServer(version, settings={"logical_decoding_work_mem": "64kB"}) as server:
            with psycopg.connect(server.url()) as connection:
                [(described, number)] = connection.execute(
                    "SELECT version(), current_setting('server_version_num')::int"
                ).fetchall()
            recordings = [
                {
                    "protocol": protocol,
                    "options": options,
                    "frames": packed(record(server.create_database(f"by_{protocol}"), protocol)),
                }
                for protocol, options in PROTOCOLS.items()
                if number >= SINCE.get(protocol, 0)
            ]
        content = {"server": described, "by": Path(__file__).name, "recordings": recordings}
        path = CORPUS / f"postgres-{version}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
