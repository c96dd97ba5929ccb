"""The HTTP surfaces of a run: health, status and metrics for everyone, control for operators."""

from flusso_core.server.app import Reindexer, RunView, private_app, public_app
from flusso_core.server.serving import AddressInUse, serving
from flusso_core.server.surfaces import (
    Running,
    RunObserver,
    Surface,
    Surfaces,
    served,
)

__all__ = [
    "AddressInUse",
    "Reindexer",
    "RunObserver",
    "RunView",
    "Running",
    "Surface",
    "Surfaces",
    "private_app",
    "public_app",
    "served",
    "serving",
]
