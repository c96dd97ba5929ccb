"""The demo's documents in the file of the stdout sink: the last line of an id counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flusso_core.config import Deployment, OptionsTable, SinkConfig
from flusso_sandbox.compare import JsonDocument, parse_document
from flusso_sandbox.demo.target import Answer, Target

_SINK = "lines"
_HITS = 3


class FileTarget(Target):
    """A file of envelopes that grows. Only where each document stands is kept in memory.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._places: dict[str, dict[str, int]] = {}

    @property
    def verb(self) -> str:
        """Its line is in the file."""
        return "in the file"

    def direct(self, deployment: Deployment) -> Deployment:
        """The deployment with a stdout sink in place of what it has."""
        options = OptionsTable({"path": str(self._path)}, ("sinks", _SINK))
        return replace(deployment, sinks={_SINK: SinkConfig("stdout", options)})

    def revisions(self, index: str, ids: Sequence[str]) -> Mapping[str, int]:
        """The byte at which each document's last line begins."""
        self._catch_up()
        places = self._places.get(index, {})
        return {identity: places[identity] for identity in ids if identity in places}

    def documents(self, index: str, ids: Sequence[str]) -> Mapping[str, JsonDocument]:
        """The documents, each by its last line."""
        found: dict[str, JsonDocument] = {}
        places = self.revisions(index, ids)
        with self._path.open("rb") as file:
            for identity, place in places.items():
                file.seek(place)
                found[identity] = parse_document(file.readline())["document"]
        return found

    def count(self, index: str) -> int:
        """How many ids have a last line that is not a delete."""
        self._catch_up()
        return len(self._places.get(index, {}))

    def ids(self, index: str) -> Iterator[str]:
        """Those ids."""
        self._catch_up()
        return iter(list(self._places.get(index, {})))

    def search(self) -> Iterator[Answer]:
        """Look through the products' lines: a file has no index to search in."""
        hits: list[str] = []
        total = 0
        for identity in self.ids("products"):
            name = self.documents("products", [identity])[identity]["name"]
            if "Speedster" in name and "edition" in name:
                total += 1
                hits.append(f"{identity}  {name}")
        question = "products named “Speedster … edition”, line by line"
        yield Answer(question, str(self._path), total, hits[:_HITS])

    def _catch_up(self) -> None:
        """Read what has been written since the last time, as far as lines are complete."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                envelope = json.loads(line)
                places = self._places.setdefault(envelope["index"], {})
                if envelope["op"] == "delete":
                    places.pop(envelope["id"], None)
                else:
                    places[envelope["id"]] = self._read
                self._read += len(line)
