"""Whether a default is a value of its field's type, as far as a model's types cannot say."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from datetime import datetime, time

from flusso_core.schema.format import AnyColumn, BinaryModel, TemporalModel

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?")


def wrong_default(model: AnyColumn) -> str | None:
    """What is wrong with the default, or `None`.

    A date with a format of its own (`options: {format: …}`) may be anything that it allows.
    """
    match model:
        case TemporalModel(default=str() as text) if not {"format", "type"} & model.options.keys():
            if not _is_temporal(text):
                return "expected a date or time, such as 2024-05-01 or 2024-05-01T10:00:00Z"
        case BinaryModel(default=str() as text):
            try:
                b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return "expected base64"
        case _:
            pass
    return None


def _is_temporal(text: str) -> bool:
    try:
        if _DATE.fullmatch(text):
            datetime.fromisoformat(text)
        else:
            time.fromisoformat(text)
    except ValueError:
        return False
    return True
