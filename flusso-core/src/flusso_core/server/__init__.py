"""The HTTP surfaces of a run: health, status and metrics for everyone, control for operators."""

from flusso_core.server.app import Reindexer, RunView, private_app, public_app
from flusso_core.server.serving import AddressInUse, serving
from flusso_core.server.surfaces import (
    LAG_SECONDS,
    Running,
    RunObserver,
    Surface,
    Surfaces,
    served,
)

__all__ = [
    "LAG_SECONDS",
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
