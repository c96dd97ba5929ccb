"""A deployment of one small index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from opensearchpy import NotFoundError, OpenSearch, RequestError

from .processes import Workplace

_CONFIG = """
{general}

[source]
type = "postgres"
connection_url = {{ env = "DATABASE_URL" }}

[sinks.search]
type = "opensearch"
url = {{ env = "OPENSEARCH_URL" }}
number_of_replicas = 0
{sink}

[[index]]
name = "{index}"
schema = "{index}.schema.yml"
"""


class SmallDeployment(Workplace):
    """The files in a folder of their own, with servers of the test.

    Args:
        folder: where the files are.
        environment: where the servers are, and what is the test's own there.
        client: of the cluster.
        index: the name of the index.
        schema: the text of its schema file.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        client: OpenSearch,
        index: str,
        schema: str,
    ) -> None:
        super().__init__(folder, environment)
        self._index = index
        self.client = client
        self.prefix = environment["FLUSSO_INDEX_PREFIX"]
        (folder / f"{index}.schema.yml").write_text(schema)
        self.configure()

    @property
    def alias(self) -> str:
        """What searches go to."""
        return self.prefix + self._index

    def configure(self, *, general: str = "", sink: str = "") -> None:
        """Write the configuration, with further lines at its top and of its sink."""
        text = _CONFIG.format(general=general, sink=sink, index=self._index)
        (self.folder / "flusso.toml").write_text(text)

    def count(self) -> int:
        """How many documents a search finds; -1: nothing serves, or what does is closed."""
        try:
            return int(self.client.count(index=self.alias)["count"])
        except (NotFoundError, RequestError):
            return -1


Deploy = Callable[[str, str], SmallDeployment]
"""Makes a deployment of the index of that name from the text of its schema file."""
