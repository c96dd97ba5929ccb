"""In-memory edges that behave like real ones, for tests of the engine and of plugins."""

from flusso_core.testing.database import MemoryBuilder, MemoryCapture, MemoryDatabase
from flusso_core.testing.sink import MemoryDestination, MemorySink

__all__ = [
    "MemoryBuilder",
    "MemoryCapture",
    "MemoryDatabase",
    "MemoryDestination",
    "MemorySink",
]
