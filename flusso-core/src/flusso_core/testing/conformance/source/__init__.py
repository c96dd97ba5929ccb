"""The conformance kits of captures and builders."""

from flusso_core.testing.conformance.source.bench import SourceBench
from flusso_core.testing.conformance.source.builder import BuilderConformance
from flusso_core.testing.conformance.source.capture import CaptureConformance
from flusso_core.testing.conformance.source.rows import (
    CHILDREN,
    PARENTS,
    SCHEMA,
    TABLES,
    Delete,
    Put,
    Rekey,
    Rows,
    Truncate,
    Write,
    statement,
)

__all__ = [
    "CHILDREN",
    "PARENTS",
    "SCHEMA",
    "TABLES",
    "BuilderConformance",
    "CaptureConformance",
    "Delete",
    "Put",
    "Rekey",
    "Rows",
    "SourceBench",
    "Truncate",
    "Write",
    "statement",
]
