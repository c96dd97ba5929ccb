"""Measure the OpenSearch sink: documents a second through its flush, against bulk requests made
by hand of the same bodies, in the same run on the same server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from opensearchpy import AsyncOpenSearch

from benchmarks.servers import COMPILED, HEAP_MB
from flusso_core.hookspecs import SinkContext
from flusso_core.interfaces import Sink
from flusso_core.model import Document, DocumentId, FieldType, IndexMapping, MappedField
from flusso_sandbox import OpenSearchServer
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import create

ITEM = (
    MappedField("sku", FieldType.KEYWORD, "items.sku"),
    MappedField("price", FieldType.DECIMAL, "items.price"),
    MappedField("title", FieldType.TEXT, "items.title"),
)
MAPPING = IndexMapping(
    index="orders",
    schema_hash="bench",
    fields=(
        MappedField("customer", FieldType.TEXT, "customer"),
        MappedField("placed", FieldType.TIMESTAMP, "placed"),
        MappedField("items", FieldType.NESTED, "items", fields=ITEM),
    ),
)
Chunk = Sequence[Document]
Write = Callable[[Chunk], Awaitable[None]]


def chunks_of(count: int, size: int, generation: int) -> list[Chunk]:
    """Documents of about 1 kB with eight nested ones each; the same ones for each generation."""
    rng = random.Random(20)
    words = ["".join(rng.choices("abcdefghij", k=7)) for _ in range(2000)]
    documents: list[Document] = []
    for number in range(count):
        items = [
            {
                "sku": rng.choice(words),
                "price": rng.random(),
                "title": " ".join(rng.sample(words, 6)),
            }
            for _ in range(8)
        ]
        name = " ".join(rng.sample(words, 3))
        body = {"customer": name, "placed": "2026-11-22T12:00:00", "items": items}
        identity = DocumentId("orders", generation, (str(number),))
        documents.append(Document(identity, json.dumps(body).encode(), 1))
    return [documents[at : at + size] for at in range(0, count, size)]


async def rate(write: Write, chunks: Sequence[Chunk], in_flight: int) -> float:
    """Documents a second, so many writers at once."""
    waiting = list(reversed(chunks))

    async def writer() -> None:
        while waiting:
            await write(waiting.pop())

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(writer())
    return sum(map(len, chunks)) / (time.perf_counter() - started)


def by_hand(client: AsyncOpenSearch, index: str) -> Write:
    """What a program does that knows nothing but the bulk API."""

    async def write(chunk: Chunk) -> None:
        lines: list[bytes] = []
        for document in chunk:
            lines += [b'{"index":{"_id":"%s"}}' % document.id.key[0].encode(), document.body or b""]
        body = b"\n".join((*lines, b""))
        params = {"filter_path": "errors"}
        answer = await client.transport.perform_request(
            "POST",
            f"/{index}/_bulk",
            params=params,
            body=body,
            headers={"content-type": "application/x-ndjson"},
        )
        assert answer == {"errors": False}

    return write


def by_sink(sink: Sink) -> Write:
    """What the engine does."""

    async def write(chunk: Chunk) -> None:
        report = await sink.flush(chunk, caught_up=False)
        assert not report.rejected
        assert not report.throttled

    return write


async def measure(url: str, documents: int, size: int, rounds: int) -> dict[str, list[float]]:
    """Both ways by turns, each into a new index of one definition."""
    options = OpenSearchOptions.model_validate({"url": url, "number_of_replicas": 0})
    found: dict[str, list[float]] = {"by hand": [], "sink": []}
    client = AsyncOpenSearch(hosts=[url], timeout=60)
    sink = create(SinkContext(name="bench", options=options, prefix="bench_"))
    try:
        async with sink:
            await sink.acquire("the benchmark")
            most = sink.capabilities.flushes_in_flight
            # The first round warms the server up.
            for turn in range(-1, rounds):
                for number, name in enumerate(found):
                    generation = 2 * (turn + 1) + number + 1
                    await sink.begin_generation(MAPPING, generation)
                    chunks = chunks_of(documents, size, generation)
                    write = by_hand(client, f"bench_orders_bench_{generation}")
                    if name == "sink":
                        write = by_sink(sink)
                    measured = await rate(write, chunks, most if name == "sink" else 4)
                    if turn >= 0:
                        found[name].append(measured)
            await sink.release()
    finally:
        await client.close()
    return found


def main() -> int:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=600, help="documents a request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    # `make bench` hands the arguments of every script to each.
    given, _others = parser.parse_known_args()
    with OpenSearchServer(heap_mb=HEAP_MB, java_options=COMPILED) as server:
        found = asyncio.run(measure(server.url, given.documents, given.size, given.rounds))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    ratio = medians["sink"] / medians["by hand"]
    if given.format == "json":
        print(json.dumps({"documents_per_second": found, "ratio": ratio}))
    else:
        for name, median in medians.items():
            each = ", ".join(f"{one:,.0f}" for one in found[name])
            print(f"{name:8} {median:8,.0f} documents/s   ({each})")
        print(f"the sink writes {ratio:.2f} times as many as bulk requests made by hand")
    return 0


if __name__ == "__main__":
    sys.exit(main())
