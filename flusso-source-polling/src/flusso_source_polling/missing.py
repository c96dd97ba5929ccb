"""Which document ids have no row: for the end of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from sqlalchemy import Connection

from flusso_core.model import Key, StrayKey, document_id_text, key_of_id
from flusso_source_polling.indexes import Index

AT_ONCE = 1000
"""Keys that one statement looks up, or reads."""

Read: TypeAlias = Callable[[Callable[[Connection], list[Key]]], list[Key]]


def without_row(read: Read, index: Index, ids: Sequence[str]) -> list[Key]:
    """The keys of those ids that no qualifying row has; `StrayKey` where no key can be told.

    Ids are looked up by their keys. Only where one is a digest, or not every text can be compared
    with the key's type, the keys of all rows are read, in pages.

    Args:
        read: does the work in a transaction of its own. Blocks.
        index: the index.
        ids: of documents.
    """
    width = len(index.key)
    keys = {text: key_of_id(text, width) for text in ids}
    plain = [(text, key) for text, key in keys.items() if key is not None and index.spelled(key)]
    there: set[str] = set()
    for at in range(0, len(plain), AT_ONCE):
        chunk = [key for _, key in plain[at : at + AT_ONCE]]
        there.update(map(document_id_text, read(partial(index.qualifying, keys=chunk))))
    others = keys.keys() - {text for text, _ in plain}
    if others:
        there |= others & _all(read, index, others)
    return [keys[text] or StrayKey((text,)) for text in keys if text not in there]


def _all(read: Read, index: Index, wanted: set[str]) -> set[str]:
    """Those ids that documents have, by a look at all of them."""
    found: set[str] = set()
    last: Key | None = None
    while True:
        page = read(partial(index.keys_after, key=last, limit=AT_ONCE))
        found |= wanted.intersection(map(document_id_text, page))
        if len(page) < AT_ONCE or found == wanted:
            return found
        last = page[-1]
