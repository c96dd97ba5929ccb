"""In-memory edges that behave like real ones, for tests of the engine and of plugins."""

from flusso_core.testing.builder import MemoryBuilder
from flusso_core.testing.capture import MemoryCapture
from flusso_core.testing.database import MemoryDatabase
from flusso_core.testing.faults import Fault, FaultPlan
from flusso_core.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flusso_core.testing.sink import AppliedLater, MemoryDestination, MemorySink

__all__ = [
    "AppliedLater",
    "Fault",
    "FaultPlan",
    "MemoryBuilder",
    "MemoryCapture",
    "MemoryDatabase",
    "MemoryDestination",
    "MemorySink",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]
