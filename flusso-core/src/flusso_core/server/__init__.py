"""The HTTP surfaces of a run: health, status and metrics for everyone, control for operators."""

from flusso_core.server.app import private_app, public_app
from flusso_core.server.serving import AddressInUse, serving

__all__ = ["AddressInUse", "private_app", "public_app", "serving"]
