"""The conformance kit: what the engine relies on in a backend, as pytest classes.

An author subclasses one, gives a `bench` that makes the backend and looks at what it did without
it, and runs pytest. It needs the extra `flusso-core[testing]`.
"""

from flusso_core.testing.conformance.promise import BrokenPromise, Impossible
from flusso_core.testing.conformance.queue import QueueBench, QueueConformance
from flusso_core.testing.conformance.samples import exact_json
from flusso_core.testing.conformance.sink import SinkBench, SinkConformance

__all__ = [
    "BrokenPromise",
    "Impossible",
    "QueueBench",
    "QueueConformance",
    "SinkBench",
    "SinkConformance",
    "exact_json",
]
