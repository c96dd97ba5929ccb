"""The conformance kit: what the engine relies on in a backend, as pytest classes.

An author subclasses one, gives a `bench` that makes the backend and looks at what it did without
it, and runs pytest. It needs the extra `flusso-core[testing]`.
"""

from flusso_core.json_text import exact_json
from flusso_core.testing.conformance.promise import BrokenPromise, Impossible
from flusso_core.testing.conformance.queue import QueueBench, QueueConformance
from flusso_core.testing.conformance.sink import SinkBench, SinkConformance
from flusso_core.testing.conformance.source import (
    CHILDREN,
    PARENTS,
    SCHEMA,
    TABLES,
    BuilderConformance,
    CaptureConformance,
    Delete,
    Put,
    Rekey,
    Rows,
    SourceBench,
    Truncate,
    Write,
    statement,
)

__all__ = [
    "CHILDREN",
    "PARENTS",
    "SCHEMA",
    "TABLES",
    "BrokenPromise",
    "BuilderConformance",
    "CaptureConformance",
    "Delete",
    "Impossible",
    "Put",
    "QueueBench",
    "QueueConformance",
    "Rekey",
    "Rows",
    "SinkBench",
    "SinkConformance",
    "SourceBench",
    "Truncate",
    "Write",
    "exact_json",
    "statement",
]
