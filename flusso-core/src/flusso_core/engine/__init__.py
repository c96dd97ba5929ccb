"""The engine: what drives the edges. `Engine` is its public face."""

from flusso_core.engine.engine import Engine
from flusso_core.settings import RetryPolicy

__all__ = ["Engine", "RetryPolicy"]
