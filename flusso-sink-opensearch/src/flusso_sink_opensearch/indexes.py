"""Generations: indexes that hold documents, and the aliases by which searches and writes go."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from opensearchpy.exceptions import NotFoundError, RequestError, TransportError

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Generation, IndexMapping, StateRecord
from flusso_sink_opensearch.client import Cluster, error_type, is_fixed_setting
from flusso_sink_opensearch.definition import Definition
from flusso_sink_opensearch.naming import Names, write_alias
from flusso_sink_opensearch.settings import differing, is_fixed
from flusso_sink_opensearch.state import move_write_alias, taken_over

_log = logging.getLogger(__name__)

_IDS_AT_ONCE = 5000
_SCROLL = "10m"
"""A listing of ids is kept for so long between two requests."""

_NO_SUCH_REPLICAS = {"validation_exception", "illegal_argument_exception"}
"""What a cluster answers that balances copies over zones, to an index without copies."""


class Indexes:
    """The generations of a deployment."""

    def __init__(self, cluster: Cluster, names: Names, definition: Definition) -> None:
        self._cluster = cluster
        self._names = names
        self._definition = definition

    async def begin(self, mapping: IndexMapping, generation: int, epoch: int) -> None:
        """Create the generation's index unless it is there, and let this run write to it."""
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        if not await self._create(mapping, name, epoch):
            await self.resume(mapping, generation, epoch)

    async def resume(self, mapping: IndexMapping, generation: int, epoch: int) -> None:
        """Let this run write to the index of a generation, which exists."""
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        await self._adopt(mapping, name)
        await move_write_alias(self._cluster, name, epoch, taken_over(self._cluster, self._names))

    async def serve(self, mapping: IndexMapping, generation: int) -> None:
        """Make everything in the generation searchable, then move the aliases to it at once."""
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        logical = self._names.logical(mapping.index)
        schema = self._names.schema(mapping.index, mapping.schema_hash)
        with self._cluster.errors(f"moving the alias {logical} to {name}"):
            indices = self._cluster.client.indices
            settings = self._definition.settings(mapping).on_serving
            await indices.put_settings(index=name, body={"index": settings})
            # Before the aliases move: a search never sees less than it did.
            await indices.refresh(index=name)
            actions: list[dict[str, dict[str, str]]] = []
            for alias in (logical, schema):
                holders = await self._holders(alias)
                if name not in holders:
                    actions.append({"add": {"index": name, "alias": alias}})
                actions += [
                    {"remove": {"index": holder, "alias": alias}}
                    for holder in holders
                    if holder != name
                ]
            if actions:
                await indices.update_aliases(body={"actions": actions})

    async def drop(self, generation: Generation) -> None:
        """Delete the generation's index, if it is there and no search sees it.

        Raises:
            SinkFatal: searches see it.
        """
        name = self._names.data(generation.index, generation.schema_hash, generation.number)
        if await self.serves(generation.index, name):
            msg = f"the index {name} is what searches see; it is not dropped"
            raise SinkFatal(msg)
        with self._cluster.errors(f"deleting the index {name}"):
            await self._cluster.client.indices.delete(
                index=name, params={"ignore_unavailable": "true"}
            )

    async def ids(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        """The `_id`s of an index's documents, as they are when it begins.

        Raises:
            SinkUnavailable: the cluster gave the search up; begin again.
        """
        client, doing = self._cluster.client, f"listing the documents of the index {name}"
        with self._cluster.errors(doing):
            await client.indices.refresh(index=name)
            answer = await client.search(
                index=name,
                body={"query": {"match_all": {}}, "sort": ["_doc"], "_source": False},
                params={
                    "scroll": _SCROLL,
                    "size": _IDS_AT_ONCE,
                    "allow_partial_search_results": "false",
                },
            )
        scroll = answer["_scroll_id"]
        try:
            while answer["hits"]["hits"]:
                yield [str(hit["_id"]) for hit in answer["hits"]["hits"]]
                with self._cluster.errors(doing):
                    try:
                        answer = await client.scroll(body={"scroll_id": scroll, "scroll": _SCROLL})
                    except NotFoundError as error:
                        msg = f"{doing}: the cluster gave the search up"
                        raise SinkUnavailable(msg) from error
                if answer["_shards"]["failed"]:
                    msg = f"{doing}: some shards did not answer"
                    raise SinkUnavailable(msg)
                scroll = answer["_scroll_id"]
        finally:
            with suppress(TransportError):  # it ends by itself
                await client.clear_scroll(body={"scroll_id": [scroll]})

    async def serves(self, index: str, name: str) -> bool:
        """Whether searches of the logical index see this one."""
        with self._cluster.errors(f"looking for the alias {self._names.logical(index)}"):
            return name in await self._holders(self._names.logical(index))

    async def uuids(self, records: Sequence[StateRecord]) -> Mapping[str, str]:
        """The unique ids of the indexes that hold these records' documents, by logical name.

        An index that is not there is left out. A deleted and restored one has another id.
        """
        names = {
            self._names.data(
                record.index, record.current.schema_hash, record.current.number
            ): record.index
            for record in records
        }
        if not names:
            return {}
        with self._cluster.errors("looking for the indexes of the state records"):
            found = await self._cluster.client.indices.get_settings(
                index=",".join(names),
                name="index.uuid",
                params={"ignore_unavailable": "true", "expand_wildcards": "all"},
            )
        return {
            names[name]: str(entry["settings"]["index"]["uuid"])
            for name, entry in found.items()
            if name in names
        }

    async def is_open(self, name: str) -> bool:
        """Whether an index is there and takes requests."""
        with self._cluster.errors(f"looking for the index {name}"):
            try:
                found = await self._cluster.client.cat.indices(
                    index=name, params={"format": "json", "h": "status", "expand_wildcards": "all"}
                )
            except NotFoundError:
                return False
        return bool([entry for entry in found if entry["status"] == "open"])

    async def refresh(self, names: Sequence[str]) -> None:
        """Make everything in these indexes searchable."""
        with self._cluster.errors("refreshing indexes"):
            await self._cluster.client.indices.refresh(
                index=",".join(names), params={"ignore_unavailable": "true"}
            )

    async def _holders(self, alias: str) -> Sequence[str]:
        try:
            found = await self._cluster.client.indices.get_alias(
                name=alias, params={"expand_wildcards": "all"}
            )
        except NotFoundError:
            return ()
        return list(found)

    async def _create(self, mapping: IndexMapping, name: str, epoch: int) -> bool:
        """Create the index, with this run's write alias on it from the first moment."""
        meta = {
            "flusso": {"index": mapping.index, "made_with": self._definition.made_with(mapping)}
        }
        settings = self._definition.settings(mapping)
        body: dict[str, Any] = {
            "aliases": {write_alias(name, epoch): {"is_hidden": True}},
            "mappings": {**self._definition.mappings(mapping), "_meta": meta},
            "settings": {"index": self._definition.seeding(mapping)},
        }
        with self._cluster.errors(f"creating the index {name}"):
            try:
                try:
                    await self._cluster.client.indices.create(index=name, body=body)
                except RequestError as error:
                    if error_type(error) not in _NO_SUCH_REPLICAS:
                        raise
                    # It may be the missing copies that it does not take; else it says so again.
                    body["settings"]["index"].update(settings.seeding_with_replicas)
                    await self._cluster.client.indices.create(index=name, body=body)
            except RequestError as error:
                if error_type(error) == "resource_already_exists_exception":
                    return False
                raise
        return True

    async def _adopt(self, mapping: IndexMapping, name: str) -> None:
        """Bring an existing index in line with the options, as far as a live index can be."""
        serves = await self.serves(mapping.index, name)
        settings = self._definition.settings(mapping)
        kept = settings.serving if serves else settings.still_seeding
        # An index whose fixed settings are others is superseded (`Definition.made_with`).
        wanted = {setting: value for setting, value in kept.items() if not is_fixed(setting)}
        with self._cluster.errors(f"updating the settings of the index {name}"):
            indices = self._cluster.client.indices
            answer = await indices.get_settings(index=name, params={"flat_settings": "true"})
            refused: list[str] = []
            for setting in differing(wanted, answer[name]["settings"]):
                try:
                    await indices.put_settings(
                        index=name, body={"index": {setting: wanted[setting]}}
                    )
                except RequestError as error:
                    if not is_fixed_setting(error):
                        raise
                    refused.append(setting)
        if refused:
            _log.warning(
                "the index %s was made with other settings, which a live index cannot be given "
                "(%s); they take effect when the index is made anew",
                name,
                ", ".join(refused),
            )
