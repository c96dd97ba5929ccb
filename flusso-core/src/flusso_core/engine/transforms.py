"""The user's own changes to documents, between the builder and the destination."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flusso_core.interfaces import DocumentTransform
from flusso_core.model import Document, Rejection

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Transforms:
    """Applies transforms; documents of an index without any are never parsed.

    Args:
        by_index: index to its transforms, applied one after the other.
    """

    def __init__(self, by_index: Mapping[str, Sequence[DocumentTransform]]) -> None:
        self._by_index = {index: tuple(each) for index, each in by_index.items() if each}

    def apply(self, documents: Sequence[Document]) -> tuple[Sequence[Document], list[Rejection]]:
        """Transform documents of one index.

        Returns:
            What to write, with a tombstone for each that was dropped, and those that a transform
            failed on, as they were.
        """
        transforms = self._by_index.get(documents[0].id.index)
        if transforms is None:
            return documents, []
        ready: list[Document] = []
        failed: list[Rejection] = []
        for document in documents:
            if document.body is None:
                ready.append(document)
                continue
            try:
                body = _transformed(document.body, transforms)
            except Exception as error:  # noqa: BLE001  # a stranger's code: it fails one document
                reason = f"its transform failed: {type(error).__name__}: {error}"
                failed.append(Rejection(document, reason))
            else:
                ready.append(document._replace(body=body))
        return ready, failed


def _transformed(body: bytes, transforms: Sequence[DocumentTransform]) -> bytes | None:
    document: dict[str, Any] = json.loads(body)
    for transform in transforms:
        changed = transform(document)
        if changed is None:
            return None
        document = dict(changed)
    return _encode(document).encode()
