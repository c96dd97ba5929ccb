"""The HTTP surfaces of a run: health, status and metrics for everyone, control for operators."""

from flusso_core.server.app import RunView, private_app, public_app
from flusso_core.server.client import PrivateAddress, RunningInstance, running_instance
from flusso_core.server.control import Asked, Control, IndexAtSink, Operations, UnknownIndex
from flusso_core.server.serving import AddressInUse, serving
from flusso_core.server.surfaces import Running, RunObserver, Surface, Surfaces, served

__all__ = [
    "AddressInUse",
    "Asked",
    "Control",
    "IndexAtSink",
    "Operations",
    "PrivateAddress",
    "RunObserver",
    "RunView",
    "Running",
    "RunningInstance",
    "Surface",
    "Surfaces",
    "UnknownIndex",
    "private_app",
    "public_app",
    "running_instance",
    "served",
    "serving",
]
