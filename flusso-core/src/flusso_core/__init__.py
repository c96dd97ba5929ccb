"""flusso: keep search indexes in step with a database.

The names below are the vocabulary, the edges and the engine: what an embedding program or a
backend needs. Each is imported when it is first used, so that `import flusso_core` costs nothing
and the command line answers at once. The modules `model`, `errors`, `interfaces`, `hookspecs`,
`json_text`, `pipeline` and the subpackages `config`, `schema`, `plugins`, `observe` and `testing`
are public.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flusso_core.engine import Engine
    from flusso_core.errors import (
        ConfigError,
        DocumentRejected,
        EngineError,
        FlussoError,
        GenerationLost,
        PluginError,
        SchemaMismatch,
        SinkError,
        SinkFatal,
        SinkUnavailable,
        SourceError,
        SourceFatal,
        SourceUnavailable,
    )
    from flusso_core.hookspecs import hookimpl
    from flusso_core.interfaces import (
        ChangeCapture,
        DocumentBuilder,
        DocumentTransform,
        Queue,
        Sink,
        SinkCapabilities,
    )
    from flusso_core.model import (
        BuiltDocument,
        Change,
        ChangeBatch,
        Document,
        DocumentId,
        Finding,
        FlushReport,
        Generation,
        GenerationRecord,
        GenerationSize,
        IndexKeys,
        IndexMapping,
        KeyRange,
        MappedField,
        Operation,
        Page,
        Position,
        QuarantinedDocument,
        Rejection,
        Removal,
        RootTruncated,
        Severity,
        StateRecord,
        StoredDocument,
        StrayKey,
        StreamIdentity,
        SweepNeeded,
        TableName,
        UnfitIndex,
        document_id_text,
    )
    from flusso_core.observe.observer import (
        BatchStats,
        FanOut,
        FlushStats,
        NoopObserver,
        Observer,
        Phase,
    )
    from flusso_core.settings import (
        BatchPolicy,
        Bounds,
        FailurePolicies,
        FailurePolicy,
        GapPolicies,
        GapPolicy,
        RetryPolicy,
    )

_HOMES = {
    "engine": ("Engine",),
    "errors": (
        "ConfigError",
        "DocumentRejected",
        "EngineError",
        "FlussoError",
        "GenerationLost",
        "PluginError",
        "SchemaMismatch",
        "SinkError",
        "SinkFatal",
        "SinkUnavailable",
        "SourceError",
        "SourceFatal",
        "SourceUnavailable",
    ),
    "hookspecs": ("hookimpl",),
    "interfaces": (
        "ChangeCapture",
        "DocumentBuilder",
        "DocumentTransform",
        "Queue",
        "Sink",
        "SinkCapabilities",
    ),
    "model": (
        "BuiltDocument",
        "Change",
        "ChangeBatch",
        "Document",
        "DocumentId",
        "Finding",
        "FlushReport",
        "Generation",
        "GenerationRecord",
        "GenerationSize",
        "IndexKeys",
        "IndexMapping",
        "KeyRange",
        "MappedField",
        "Operation",
        "Page",
        "Position",
        "QuarantinedDocument",
        "QuarantinedDocument",
        "Rejection",
        "Removal",
        "Removal",
        "RootTruncated",
        "Severity",
        "StateRecord",
        "StoredDocument",
        "StrayKey",
        "StreamIdentity",
        "SweepNeeded",
        "TableName",
        "UnfitIndex",
        "document_id_text",
    ),
    "observe.observer": (
        "BatchStats",
        "FanOut",
        "FlushStats",
        "NoopObserver",
        "Observer",
        "Phase",
    ),
    "settings": (
        "BatchPolicy",
        "Bounds",
        "FailurePolicies",
        "FailurePolicy",
        "GapPolicies",
        "GapPolicy",
        "RetryPolicy",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BatchPolicy",
    "BatchStats",
    "Bounds",
    "BuiltDocument",
    "Change",
    "ChangeBatch",
    "ChangeCapture",
    "ConfigError",
    "Document",
    "DocumentBuilder",
    "DocumentId",
    "DocumentRejected",
    "DocumentTransform",
    "Engine",
    "EngineError",
    "FailurePolicies",
    "FailurePolicy",
    "FanOut",
    "Finding",
    "FlushReport",
    "FlushStats",
    "FlussoError",
    "GapPolicies",
    "GapPolicy",
    "Generation",
    "GenerationLost",
    "GenerationRecord",
    "GenerationSize",
    "IndexKeys",
    "IndexMapping",
    "KeyRange",
    "MappedField",
    "NoopObserver",
    "Observer",
    "Operation",
    "Page",
    "Phase",
    "PluginError",
    "Position",
    "QuarantinedDocument",
    "Queue",
    "Rejection",
    "Removal",
    "RetryPolicy",
    "RootTruncated",
    "SchemaMismatch",
    "Severity",
    "Sink",
    "SinkCapabilities",
    "SinkError",
    "SinkFatal",
    "SinkUnavailable",
    "SourceError",
    "SourceFatal",
    "SourceUnavailable",
    "StateRecord",
    "StoredDocument",
    "StrayKey",
    "StreamIdentity",
    "SweepNeeded",
    "TableName",
    "UnfitIndex",
    "document_id_text",
    "hookimpl",
]


if not TYPE_CHECKING:  # or a misspelt name would pass for an object

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
