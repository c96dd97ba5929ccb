"""How changes are found, table by table."""

from __future__ import annotations

from flusso_source_polling.readers.base import Poll, Reader
from flusso_source_polling.readers.comparison import Comparison
from flusso_source_polling.readers.window import Following, Window, forget_place

__all__ = ["Comparison", "Following", "Poll", "Reader", "Window", "forget_place"]
