r"""The lines: one JSON object for each document that is written or deleted.

```json
{"sink":"stdout","version":1,"ts":"2026-01-31T12:00:00.000Z","seq":1,"index":"users",
 "op":"upsert","id":"7","meta":{"fields":2,"bytes":23},"document":{"id":7,"name":"Ada"}}
```

`version` is that of the envelope, `ts` when the line was made, `seq` counts the lines of a run
from 1, `op` is `upsert` or `delete`, `id` the document's `_id`; `meta.fields` is the number of
top-level fields of the index's documents and `meta.bytes` the size of this one's JSON, both 0 for
a delete, which has no `document`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from flusso_core.json_text import indented
from flusso_core.model import Document, document_id_text

ENVELOPE_VERSION = 1

_quote = json.JSONEncoder(ensure_ascii=False).encode


def timestamp(now: datetime | None = None) -> str:
    """A moment in UTC with milliseconds, ISO 8601."""
    moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def line(document: Document, *, sink: str, index: str, seq: int, ts: str, fields: int) -> bytes:
    """The envelope of a document as one line, line feed included.

    The document's JSON is put in as it is, never parsed.

    Args:
        document: what is written, or a tombstone.
        sink: the sink's name.
        index: the index's name.
        seq: the number of this line in the run.
        ts: the time to write, as `timestamp` gives it.
        fields: top-level fields of the index's documents.
    """
    body = document.body
    head = (
        f'{{"sink":{_quote(sink)},"version":{ENVELOPE_VERSION},"ts":"{ts}","seq":{seq},'
        f'"index":{_quote(index)},"op":"{"delete" if body is None else "upsert"}",'
        f'"id":{_quote(document_id_text(document.id.key))},'
    )
    if body is None:
        return f'{head}"meta":{{"fields":0,"bytes":0}}}}\n'.encode()
    meta = f'"meta":{{"fields":{fields},"bytes":{len(body)}}},"document":'
    return b"".join((head.encode(), meta.encode(), body, b"}\n"))


def prettify(envelope: bytes) -> bytes:
    """The same envelope over several lines, every value spelled as it was."""
    return (indented(envelope.decode()) + "\n").encode()
