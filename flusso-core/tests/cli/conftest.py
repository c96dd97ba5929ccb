"""A deployment over a backend in memory, for commands that run in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

SCHEMA = """
version: 1
table: parents
primary_key: key
fields:
  - keyword: name
"""


@dataclass
class Place:
    """A folder with a deployment, and the fake backend installed for its commands."""

    folder: Path
    source: dict[str, object] = field(default_factory=lambda: {"type": "fake"})
    sink: dict[str, object] = field(default_factory=lambda: {"type": "fake", "path": "out.json"})
    more: str = ""

    def write(self) -> None:
        def table(values: dict[str, object]) -> str:
            return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())

        (self.folder / "flusso.toml").write_text(
            f"{self.more}\n[source]\n{table(self.source)}\n[sinks.out]\n{table(self.sink)}\n"
            '[[index]]\nname = "parents"\nschema = "parents.schema.yml"\n'
        )
        (self.folder / "parents.schema.yml").write_text(SCHEMA)

    def environ(self, **more: str) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if key != "COLUMNS" and not key.startswith("FLUSSO_")
        }
        return {**kept, "PYTHONPATH": str(self.folder / "site"), **more}

    def run(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args),
            cwd=self.folder,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *args: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*args),
            cwd=self.folder,
            env=self.environ() | variables,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def written(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "out.json").read_text())
        return content


def command(*args: str) -> list[str]:
    return [sys.executable, "-c", "from flusso_core.cli import main; main()", *args]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    info = tmp_path / "site" / "fake_backend-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-backend\nVersion: 1.0\n")
    kinds = ("captures", "builders", "sinks", "hooks")
    (info / "entry_points.txt").write_text(
        "".join(f"[flusso.{kind}]\nfake = fake_backend\n" for kind in kinds)
        + "[flusso.sinks]\nplain = fake_backend:plain\n"
    )
    shutil.copy(HERE / "fake_backend.py", tmp_path / "site")
    made = Place(tmp_path)
    made.write()
    return made
