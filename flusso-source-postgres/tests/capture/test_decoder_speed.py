"""How fast the decoder is, against a bare loop of `struct` calls over the same frames."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from statistics import median

from flusso_core.model import TableName
from flusso_source_postgres.pgoutput import Decoder
from flusso_source_postgres.relation import Route
from flusso_source_postgres.wire import DATA_HEADER

from . import encoder
from .encoder import Relation, frame

ORDERS = TableName("public", "orders")
COLUMNS = ("id", "user_id", "state", "total", "placed_at", "note", "city", "zip")
TABLE = Relation(16384, ORDERS, COLUMNS, frozenset(COLUMNS), "f")
ROUTE = Route(frozenset({"id", "user_id"}))
LEAST = 0.8
ROUNDS = 9


def frames() -> list[bytes]:
    """Inserts, updates with whole old rows, and deletes of a table with eight columns."""
    made: list[bytes] = []
    for number in range(1000):
        row = [str(number), str(number % 50), "paid", "19.90", "2024-02-03 04:05:06", None, "Ü", ""]
        made += [
            frame(encoder.insert(16384, row)),
            frame(encoder.update(16384, row, old=row)),
            frame(encoder.delete(16384, old=row)),
        ]
    return made


def bare(stream: Sequence[bytes]) -> None:
    """What any decoder in Python has to do at least: find each value, and make it a text."""
    number, short = struct.Struct(">I").unpack_from, struct.Struct(">H").unpack_from
    header = struct.Struct(">cQQqcI").unpack_from
    for data in stream:
        _, _, _, _, kind, _oid = header(data, 0)
        offset = 30
        rows: list[list[str | None]] = []
        for _ in range(2 if kind == b"U" else 1):
            (count,) = short(data, offset + 1)
            offset += 3
            values: list[str | None] = []
            for _ in range(count):
                if data[offset] == 0x74:
                    (length,) = number(data, offset + 1)
                    end = offset + 5 + length
                    values.append(data[offset + 5 : end].decode())
                    offset = end
                else:
                    values.append(None)
                    offset += 1
            rows.append(values)


def seconds(work: Callable[[Sequence[bytes]], None], stream: Sequence[bytes]) -> float:
    begun = time.process_time()
    work(stream)
    return time.process_time() - begun


def test_the_decoder_is_about_as_fast_as_a_bare_loop_of_struct_calls() -> None:
    stream = frames()
    decoder = Decoder({ORDERS: ROUTE})
    decoder.decode(encoder.relation(TABLE))

    def decode(stream: Sequence[bytes]) -> None:
        for data in stream:
            decoder.decode(data, DATA_HEADER)

    # Both in turn, so that whatever else the machine does slows both alike.
    ratios = [seconds(bare, stream) / seconds(decode, stream) for _ in range(ROUNDS)]
    assert median(ratios) >= LEAST, f"{median(ratios):.2f} of the bare loop's speed"
