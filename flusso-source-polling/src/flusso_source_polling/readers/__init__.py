"""How changes are found, table by table."""

from __future__ import annotations

from flusso_source_polling.readers.base import Reader
from flusso_source_polling.readers.comparison import Comparison

__all__ = ["Comparison", "Reader"]
