"""Errors, by how a caller reacts to them.

```text
FlussoError
├── ConfigError                 a file, a key, an option: fix it and start again
├── PluginError                 a backend cannot be used
│   ├── PluginNotFound          not installed
│   ├── PluginConflict          two distributions claim one name
│   ├── PluginIncompatible      built for another plugin API or flusso-core
│   └── PluginFailed            raised while it was imported or registered
├── SourceError
│   ├── SourceUnavailable       retryable: connection lost, server restarting, slot busy
│   ├── SchemaMismatch          one index's schema does not fit its tables: that index stops
│   └── SourceFatal             retrying is no use: privilege, configuration
├── SinkError
│   ├── SinkUnavailable         retryable: unreachable, throttled, 5xx
│   ├── SinkFatal               retrying is no use: authentication, bad request, lease lost
│   └── GenerationLost          a generation is gone; its index is filled afresh
├── DocumentRejected            a document was refused and the policy is to stop
└── EngineError                 the engine cannot go on: a gap by policy, an invalid combination
```

A message says what happened, where, and what to do. It never holds a secret.
"""

from __future__ import annotations


class FlussoError(Exception):
    """Root of every error that flusso raises on purpose."""


class ConfigError(FlussoError):
    """A configuration or schema file, or an option, is wrong."""


class PluginError(FlussoError):
    """A backend cannot be used. The message names its distribution and the cure."""


class PluginNotFound(PluginError):
    """No installed distribution provides a backend of that name."""


class PluginConflict(PluginError):
    """Two distributions provide a backend of the same kind and name."""


class PluginIncompatible(PluginError):
    """A backend was built for another plugin API or another range of flusso-core."""


class PluginFailed(PluginError):
    """A backend raised while it was imported, or did not register what it announced."""


class SourceError(FlussoError):
    """Something went wrong at the source."""


class SourceUnavailable(SourceError):
    """The source cannot be used for now; the engine tries again."""


class SourceFatal(SourceError):
    """The source cannot be used until someone changes something; the run stops."""


class SchemaMismatch(SourceError):
    """The schema of one index does not fit its tables, or no longer does.

    That index stops and leaves its record behind; the others go on. A builder raises it from
    `resolve`, `build`, `ranges` or `page`.

    Args:
        index: the index's logical name.
        reason: what does not fit, where, and what cures it.
    """

    def __init__(self, index: str, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"index {self.index}: {self.reason}"


class SinkError(FlussoError):
    """Something went wrong at the destination."""


class SinkUnavailable(SinkError):
    """The destination cannot be used for now; the engine tries again."""


class SinkFatal(SinkError):
    """The destination cannot be used until someone changes something; the run stops."""


class GenerationLost(SinkError):
    """A generation was deleted or closed at the destination under a running flusso, and may be
    filled afresh.

    Args:
        message: what happened.
        index: the logical name.
        generation: the number of the generation.
    """

    def __init__(self, message: str, *, index: str, generation: int) -> None:
        super().__init__(message)
        self.index = index
        self.generation = generation


class DocumentRejected(FlussoError):
    """A destination refused a document and the failure policy is to stop."""


class EngineError(FlussoError):
    """The engine cannot go on."""
