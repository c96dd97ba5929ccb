"""The conformance kit of sinks."""

from flusso_core.testing.conformance.sink.bench import SinkBench
from flusso_core.testing.conformance.sink.documents import DocumentChecks
from flusso_core.testing.conformance.sink.generations import GenerationChecks
from flusso_core.testing.conformance.sink.life import LifeChecks
from flusso_core.testing.conformance.sink.memory import MemoryChecks
from flusso_core.testing.conformance.sink.reading import ReadingChecks

__all__ = ["SinkBench", "SinkConformance"]


class SinkConformance(DocumentChecks, GenerationChecks, MemoryChecks, ReadingChecks, LifeChecks):
    """Everything that the engine relies on in a sink.

    Subclass it and give a fixture `bench` that returns a `SinkBench` on an empty destination:

    ```python
    class TestFolderSink(SinkConformance):
        @pytest.fixture
        def bench(self, tmp_path: Path) -> FolderBench:
            return FolderBench(tmp_path)
    ```

    A failure is a `BrokenPromise` that says what was promised, what was seen, and where to read
    about it. What a sink's capabilities do not claim is held to what they say instead.
    """
