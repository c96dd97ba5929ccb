"""Which generations there are: those that flusso made, and those of the Rust program.

The Rust program of the same name lays its indexes out alike, with hashes of another length:
`{prefix}{name}_{hash}_{n}` holds documents; `{prefix}{name}_{hash}` and `{prefix}{name}` are
aliases. In `{prefix}flusso_meta` it keeps a marker for each index and schema, whose id is the
name of the first alias: `{"active_generation": 1, "seeded": true}`. Its generation serves searches
until one of ours is filled, and stays until somebody has it removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from opensearchpy.exceptions import NotFoundError

from flusso_core.model import Generation, GenerationSize
from flusso_sink_opensearch.client import Cluster
from flusso_sink_opensearch.naming import Names, generation_parts, is_rust_hash


class Existing:
    """The generations of a deployment that are in the cluster."""

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._cluster = cluster
        self._names = names

    async def generations(self, index: str) -> Sequence[Generation]:
        """The generations of the index that exist, of all schemas.

        Those of the Rust program are among them, and nothing else that others made.
        """
        logical = self._names.logical(index)
        with self._cluster.errors(f"listing the generations of {logical}"):
            found = await self._cluster.client.indices.get(
                index=f"{logical}_*", params={"expand_wildcards": "all"}
            )
        generations: list[Generation] = []
        unmarked: list[Generation] = []
        for name, entry in found.items():
            parts = generation_parts(logical, name)
            if parts is None:
                continue
            made = entry["mappings"].get("_meta", {}).get("flusso", {})
            one = Generation(
                index,
                number=parts[1],
                schema_hash=parts[0],
                serves=logical in entry["aliases"],
                made_with=made.get("made_with"),
                foreign=not made,
            )
            if made.get("index") == index:
                generations.append(one)
            elif one.foreign and is_rust_hash(one.schema_hash):
                unmarked.append(one)
        return [*generations, *await self._of_rust(unmarked)]

    async def size(self, generation: Generation) -> GenerationSize:
        """How many documents a generation's index has, and its bytes on all disks."""
        name = self._names.data(generation.index, generation.schema_hash, generation.number)
        client = self._cluster.client
        with self._cluster.errors(f"measuring the index {name}"):
            # A closed one is left out as well.
            params = {"ignore_unavailable": "true"}
            await client.indices.refresh(index=name, params=params)
            stats = await client.indices.stats(index=name, metric="store", params=params)
            if name not in stats["indices"]:
                return GenerationSize()
            # Statistics count nested objects as documents.
            counted = await client.count(index=name, params=params)
        size = stats["indices"][name]["total"]["store"]["size_in_bytes"]
        return GenerationSize(int(counted["count"]), int(size))

    async def forget(self, generation: Generation) -> None:
        """Delete the Rust program's marker, unless it has another generation of the schema.

        By it alone that program would take an index for filled that is not there any more.
        """
        others = await self.generations(generation.index)
        if any(one.foreign and one.schema_hash == generation.schema_hash for one in others):
            return
        with (
            self._cluster.errors(f"deleting a marker in {self._names.meta}"),
            suppress(NotFoundError),
        ):
            await self._cluster.client.delete(index=self._names.meta, id=self._marker(generation))

    async def _of_rust(self, candidates: Sequence[Generation]) -> Sequence[Generation]:
        """Those that the Rust program made: it keeps a marker for each index and schema."""
        if not candidates:
            return ()
        with self._cluster.errors(f"looking for markers in {self._names.meta}"):
            answer = await self._cluster.client.mget(
                index=self._names.meta, body={"ids": [self._marker(one) for one in candidates]}
            )
        markers = {
            doc["_id"]
            for doc in answer["docs"]
            if doc.get("found") and "active_generation" in cast("dict[str, Any]", doc["_source"])
        }
        return [one for one in candidates if self._marker(one) in markers]

    def _marker(self, generation: Generation) -> str:
        """Where the Rust program notes which generation of a schema it uses, and if it is seeded.

        It has the name of the alias.
        """
        return self._names.schema(generation.index, generation.schema_hash)
