"""State records, and the lease that makes this run the only writer.

Both live in `{prefix}flusso_meta`. The lease is one document that is only ever replaced by
compare-and-set. Records are written through an alias that belongs to this run and carry versions
that rise with the epoch, so that neither a paused old run nor a late request of this one can put
an older record in the place of a newer one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opensearchpy.exceptions import ConflictError, NotFoundError, RequestError
from pydantic import TypeAdapter, ValidationError

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import StateRecord
from flusso_sink_opensearch.client import Cluster, describe, error_type, within
from flusso_sink_opensearch.naming import Names, write_alias, write_epochs

_log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
"""A lease that has not changed for so long has been given up by a run that died."""

_POLL_SECONDS = 1.0
_RELEASE_SECONDS = 5.0
_LEASE = "lease"
_RECORD = "index:"
_FIELD = "flusso_state"
_FORMAT = 1
_MOST_INDEXES = 10_000

_MAPPINGS = {"properties": {_FIELD: {"type": "object", "enabled": False}}}
_records = TypeAdapter(StateRecord)


@dataclass(frozen=True, slots=True)
class _Lease:
    """The lease as it was read or written: whose it is, and the token for compare-and-set."""

    owner: str | None
    epoch: int
    seq_no: int
    primary_term: int


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record, and the unique id of the index that held its documents when it was stored."""

    record: StateRecord
    index_uuid: str | None


class Meta:
    """The memory of a deployment in its cluster."""

    def __init__(
        self, cluster: Cluster, names: Names, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._names = names
        self._clock = clock
        self._lock = asyncio.Lock()
        self._lease: _Lease | None = None
        self._stores = 0

    @property
    def epoch(self) -> int:
        """This run's epoch.

        Raises:
            SinkFatal: the lease was not acquired.
        """
        return self._held().epoch

    async def acquire(self, owner: str) -> int:
        """Take the lease, waiting while another run holds it, and return the raised epoch.

        Args:
            owner: unique to this run, and the same for each of its attempts.
        """
        await self._ensure_index()
        async with self._lock:
            self._lease = await self._take(owner)
            try:
                await self._take_write_alias(self._lease.epoch)
            except BaseException:
                # It cannot be given up without that alias: the next attempt takes it at once,
                # and another run when it has ended.
                self._lease = None
                raise
            return self._lease.epoch

    async def renew(self) -> None:
        """Extend the lease.

        Raises:
            SinkFatal: another run has it.
        """
        async with self._lock:
            lease = self._held()
            self._lease = await self._put(lease, owner=lease.owner)

    async def release(self) -> None:
        """Give the lease up. Where the cluster cannot be reached, it ends by itself."""
        async with self._lock:
            await self._give_up()

    async def load(self) -> Mapping[str, StoredRecord]:
        """Every index's record, by logical name."""
        meta = self._names.meta
        with self._cluster.errors("reading the state records"):
            # It is not there before the first run.
            params = {"ignore_unavailable": "true"}
            await self._cluster.client.indices.refresh(index=meta, params=params)
            answer = await self._cluster.client.search(
                index=meta,
                body={"query": {"match_all": {}}, "size": _MOST_INDEXES},
                params=params,
            )
        stored: dict[str, StoredRecord] = {}
        for hit in answer["hits"]["hits"]:
            if str(hit["_id"]).startswith(_RECORD):
                found = self._parse(hit)
                stored[found.record.index] = found
        return stored

    async def store(self, records: Sequence[StoredRecord]) -> None:
        """Replace these records. When it returns, they are durable.

        Raises:
            SinkFatal: another run has taken over.
        """
        if not records:
            return
        epoch = self.epoch
        self._stores += 1
        version = (epoch << 32) + self._stores
        lines: list[str] = []
        for stored in records:
            action = {
                "_id": f"{_RECORD}{stored.record.index}",
                "version": version,
                "version_type": "external",
            }
            state = {
                "format": _FORMAT,
                "record": _records.dump_python(stored.record, mode="json"),
                "index_uuid": stored.index_uuid,
            }
            lines += [json.dumps({"index": action}), json.dumps({_FIELD: state})]
        with self._cluster.errors("storing the state records"):
            answer = await self._cluster.client.bulk(
                body="\n".join(lines) + "\n",
                index=write_alias(self._names.meta, epoch),
                params={"require_alias": "true", "filter_path": "errors,items.*.error"},
            )
        if answer["errors"]:
            self._refused(answer["items"])

    def _refused(self, items: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
        errors = [result["error"] for item in items for result in item.values()]
        reason = describe(errors[0])
        kinds = {str(error.get("type")) for error in errors}
        if kinds & {"index_not_found_exception", "version_conflict_engine_exception"}:
            raise SinkFatal(self._taken_over()) from None
        msg = f"storing the state records in {self._names.meta}: {reason}"
        raise SinkUnavailable(msg)

    async def _ensure_index(self) -> None:
        body = {
            "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"},
            "mappings": {"dynamic": "strict", **_MAPPINGS},
        }
        await ensure_index(self._cluster, self._names.meta, body, _MAPPINGS)

    async def _take(self, owner: str) -> _Lease:
        """Compare-and-set the lease to be ours; the others' is taken when it stands still."""
        seen: _Lease | None = None
        since = self._clock()
        while True:
            lease = await self._read()
            if lease != seen:
                # It changes at each renewal; say it once for each run that is waited for.
                owner_was = None if seen is None else seen.owner
                if lease is not None and lease.owner not in (None, owner, owner_was):
                    _log.info("waiting for the lease of %s to end", lease.owner)
                seen, since = lease, self._clock()
            # It is this run's own where an attempt failed after the lease had been taken.
            free = lease is None or lease.owner in (None, owner)
            if free or self._clock() - since >= LEASE_SECONDS:
                taken = await self._try_to_take(lease, owner)
                if taken is not None:
                    return taken
            else:
                await asyncio.sleep(_POLL_SECONDS)

    async def _try_to_take(self, lease: _Lease | None, owner: str) -> _Lease | None:
        """The lease as ours, or `None` if another run was faster."""
        params: dict[str, object]
        if lease is None:
            # Epochs never fall, also where the memory of them was deleted.
            epoch = await self._highest_epoch() + 1
            params = {"op_type": "create"}
        else:
            epoch = lease.epoch + 1
            params = {"if_seq_no": lease.seq_no, "if_primary_term": lease.primary_term}
        with self._cluster.errors("taking the lease"):
            try:
                answer = await self._cluster.client.index(
                    index=self._names.meta,
                    id=_LEASE,
                    body=_lease_body(owner, epoch),
                    params=params,
                )
            except ConflictError:
                return None
        return _Lease(owner, epoch, answer["_seq_no"], answer["_primary_term"])

    async def _highest_epoch(self) -> int:
        with self._cluster.errors("looking for aliases of earlier runs"):
            found = await self._cluster.client.indices.get_alias(
                index=f"{self._names.prefix}*", params={"expand_wildcards": "all"}
            )
        return max(
            (
                epoch
                for index, entry in found.items()
                for epoch in write_epochs(index, entry["aliases"]).values()
            ),
            default=0,
        )

    async def _read(self) -> _Lease | None:
        with self._cluster.errors("reading the lease"):
            try:
                # By id it is read as it was last written, without a refresh.
                answer = await self._cluster.client.get(index=self._names.meta, id=_LEASE)
            except NotFoundError:
                return None
        lease = answer["_source"][_FIELD]
        return _Lease(lease["owner"], lease["epoch"], answer["_seq_no"], answer["_primary_term"])

    async def _put(self, lease: _Lease, *, owner: str | None) -> _Lease:
        with self._cluster.errors("renewing the lease"):
            try:
                answer = await self._cluster.client.index(
                    index=write_alias(self._names.meta, lease.epoch),
                    id=_LEASE,
                    body=_lease_body(owner, lease.epoch),
                    params={
                        "if_seq_no": lease.seq_no,
                        "if_primary_term": lease.primary_term,
                        "require_alias": "true",
                    },
                )
            except NotFoundError:
                raise SinkFatal(self._taken_over()) from None
            except ConflictError:
                # An earlier renewal whose answer was lost has landed, or it is not ours any more.
                now = await self._read()
                if now is not None and (now.owner, now.epoch) == (lease.owner, lease.epoch):
                    return now
                raise SinkFatal(self._taken_over()) from None
        return _Lease(owner, lease.epoch, answer["_seq_no"], answer["_primary_term"])

    async def _give_up(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        request = self._put(lease, owner=None)
        try:
            await within(_RELEASE_SECONDS, self._cluster, "releasing the lease", request)
        except SinkUnavailable as error:
            _log.warning("the lease ends by itself in %.0f s: %s", LEASE_SECONDS, error)
        except SinkFatal as error:
            _log.warning("the lease was not ours any more: %s", error)

    async def _take_write_alias(self, epoch: int) -> None:
        await move_write_alias(self._cluster, self._names.meta, epoch, self._taken_over())

    def _held(self) -> _Lease:
        if self._lease is None:
            msg = "the lease is not held; acquire it before anything is written"
            raise SinkFatal(msg)
        return self._lease

    def _taken_over(self) -> str:
        return taken_over(self._cluster, self._names)

    def _parse(self, hit: Mapping[str, Any]) -> StoredRecord:
        try:
            state = hit["_source"][_FIELD]
            record = _records.validate_python(state["record"])
            if state["format"] != _FORMAT:
                msg = f"format {state['format']}"
                raise ValueError(msg)
            return StoredRecord(record, state.get("index_uuid"))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            msg = (
                f"the state record {hit['_id']} in {self._names.meta} at {self._cluster.url} was "
                "not written by this version of flusso; use the newer version, or delete that "
                "document and its index is filled afresh"
            )
            raise SinkFatal(msg) from error


def _lease_body(owner: str | None, epoch: int) -> dict[str, object]:
    # The time is for people: whether a lease has ended is told by its standing still.
    renewed = datetime.now(UTC).isoformat(timespec="seconds")
    return {_FIELD: {"owner": owner, "epoch": epoch, "renewed": renewed}}


def taken_over(cluster: Cluster, names: Names) -> str:
    """The message of a run that is not the writer any more."""
    return (
        f"another run of flusso has taken over the prefix {names.prefix!r} at {cluster.url} while "
        "this one was paused or cut off; only one may write, so this one stops"
    )


async def ensure_index(
    cluster: Cluster, index: str, body: Mapping[str, Any], mappings: Mapping[str, Any]
) -> None:
    """Create an index of flusso's own, or see to it that an existing one has these fields."""
    with cluster.errors(f"creating the index {index}"):
        try:
            await cluster.client.indices.create(index=index, body=dict(body))
        except RequestError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise
            await cluster.client.indices.put_mapping(index=index, body=dict(mappings))


async def move_write_alias(cluster: Cluster, index: str, epoch: int, lost: str) -> None:
    """Let this run's writes go to an index, and no older run's, in one atomic step.

    Raises:
        SinkFatal: a newer run has taken the index (`lost` is the message).
    """
    ours = write_alias(index, epoch)
    with cluster.errors(f"taking over the index {index}"):
        found = await cluster.client.indices.get_alias(index=index)
        epochs = write_epochs(index, found[index]["aliases"])
        if any(other > epoch for other in epochs.values()):
            raise SinkFatal(lost)
        if set(epochs) == {ours}:
            return
        # Each removal must find its alias, which makes the step a compare-and-set.
        actions: list[dict[str, object]] = [
            {"remove": {"index": index, "alias": alias, "must_exist": True}}
            for alias in epochs
            if alias != ours
        ]
        actions.append({"add": {"index": index, "alias": ours, "is_hidden": True}})
        try:
            await cluster.client.indices.update_aliases(body={"actions": actions})
        except NotFoundError:
            raise SinkFatal(lost) from None
