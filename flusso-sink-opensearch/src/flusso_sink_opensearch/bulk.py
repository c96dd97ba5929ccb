"""Bulk requests from ready bytes, and what their answers say. No I/O.

A document's JSON is never parsed: it goes into the request as it came. Every write and delete
carries an external version, so that a late request never replaces what a newer one wrote, and is
addressed to an alias that belongs to this run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from flusso_core.model import Document, document_id_text
from flusso_sink_opensearch.client import describe, is_block

FILTER_PATH = "errors,items.*.status,items.*.error"
"""What the answer is reduced to. The status of every item keeps the items in their places:
one that has nothing to show would be left out, and the others would move up."""

ACTION_BYTES = 256
"""About what an action line takes, the id left out."""

GenerationKey: TypeAlias = tuple[str, int]
"""An index by its logical name and its generation."""

_quote = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class BulkTarget:
    """Where a generation's documents go, as the beginnings of its action lines."""

    index: bytes
    delete: bytes

    @classmethod
    def of(cls, alias: str) -> BulkTarget:
        """The target that this alias is."""
        rest = f'{{"_index":{_quote(alias)},"version_type":"external","version":'
        return cls(index=f'{{"index":{rest}'.encode(), delete=f'{{"delete":{rest}'.encode())

    def action(self, document: Document) -> bytes:
        """The document's action line in a bulk request."""
        beginning = self.delete if document.body is None else self.index
        identity = f'{document.version},"_id":{_quote(document_id_text(document.id.key))}}}}}\n'
        return beginning + identity.encode()


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """Documents, and the action line of each, in one order."""

    documents: Sequence[Document]
    actions: Sequence[bytes]

    @property
    def body(self) -> bytes:
        """What is sent, made anew: it takes as much memory as all of the documents."""
        parts: list[bytes] = []
        for action, document in zip(self.actions, self.documents, strict=True):
            parts.append(action)
            if document.body is not None:
                parts += (document.body, b"\n")
        return b"".join(parts)

    def halves(self) -> tuple[BulkRequest, BulkRequest]:
        """Two requests for the same, where the server finds this one too large."""
        middle = len(self.documents) // 2
        return (
            BulkRequest(self.documents[:middle], self.actions[:middle]),
            BulkRequest(self.documents[middle:], self.actions[middle:]),
        )


def pack(
    documents: Sequence[Document],
    targets: Mapping[GenerationKey, BulkTarget],
    *,
    max_documents: int,
    max_bytes: int,
) -> Iterator[BulkRequest]:
    """Divide documents into requests, in order, each within the bounds.

    A single document over `max_bytes` makes a request alone: only the server knows its own limit.
    """
    start, size = 0, 0
    actions: list[bytes] = []
    for at, document in enumerate(documents):
        index, generation, _ = document.id
        action = targets[index, generation].action(document)
        more = len(action) + (0 if document.body is None else len(document.body) + 1)
        if actions and (size + more > max_bytes or len(actions) == max_documents):
            yield BulkRequest(documents[start:at], actions)
            start, size, actions = at, 0, []
        actions.append(action)
        size += more
    if actions:
        yield BulkRequest(documents[start:], actions)


class ItemFate(Enum):
    """What became of one item of a bulk request."""

    LANDED = auto()
    THROTTLED = auto()
    """Refused for now: the server is busy, a shard is away, a disk is full."""
    REJECTED = auto()
    MISSING = auto()
    """Its index or alias is not there, or closed: deleted, or taken away by another run."""
    FORBIDDEN = auto()
    """No privilege: nothing that the document could help."""


@dataclass(slots=True)
class BulkOutcome:
    """The items of a request that did not land, each with the server's reason.

    `overloaded`: some did not because the server has too much to do.
    """

    throttled: list[tuple[Document, str]] = field(default_factory=list[tuple[Document, str]])
    rejected: list[tuple[Document, str]] = field(default_factory=list[tuple[Document, str]])
    missing: list[tuple[Document, str]] = field(default_factory=list[tuple[Document, str]])
    forbidden: list[tuple[Document, str]] = field(default_factory=list[tuple[Document, str]])
    overloaded: bool = False

    def landed_of(self, documents: Sequence[Document]) -> Sequence[Document]:
        """Those of the request's documents that landed."""
        lists = (self.throttled, self.rejected, self.missing, self.forbidden)
        others = {document.id for each in lists for document, _ in each}
        if not others:
            return documents
        return [document for document in documents if document.id not in others]

    def add(self, other: BulkOutcome) -> None:
        """Join what another request gave."""
        self.throttled += other.throttled
        self.rejected += other.rejected
        self.missing += other.missing
        self.forbidden += other.forbidden
        self.overloaded |= other.overloaded


def read_answer(answer: Mapping[str, Any], documents: Sequence[Document]) -> BulkOutcome:
    """What became of a request's documents.

    Raises:
        ValueError: the answer is not one to this request.
    """
    outcome = BulkOutcome()
    items: Sequence[Mapping[str, Mapping[str, Any]]] = answer.get("items", ())
    if "errors" not in answer or len(items) != len(documents):
        msg = f"an answer about {len(items)} documents to a request of {len(documents)}"
        raise ValueError(msg)
    if not answer["errors"]:
        return outcome
    lists = {
        ItemFate.THROTTLED: outcome.throttled,
        ItemFate.REJECTED: outcome.rejected,
        ItemFate.MISSING: outcome.missing,
        ItemFate.FORBIDDEN: outcome.forbidden,
    }
    for document, item in zip(documents, items, strict=True):
        (result,) = item.values()
        error = result.get("error")
        if error is None:
            continue
        status, kind = int(result["status"]), str(error.get("type", ""))
        outcome.overloaded |= status == 429 and not is_block(kind)
        fate = item_fate(status, kind)
        if fate is not ItemFate.LANDED:
            lists[fate].append((document, describe(error)))
    return outcome


def item_fate(status: int, kind: str) -> ItemFate:
    """What an item's failure means, by its HTTP status and the server's name of it.

    A version conflict has landed: the destination has a newer version. A delete of what is not
    there has no error at all.
    """
    if kind == "version_conflict_engine_exception":
        return ItemFate.LANDED
    if kind in ("index_not_found_exception", "index_closed_exception"):
        return ItemFate.MISSING
    if is_block(kind) or status == 429 or status >= 500:
        return ItemFate.THROTTLED
    if status in (401, 403):
        return ItemFate.FORBIDDEN
    return ItemFate.REJECTED
