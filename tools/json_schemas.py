"""Write the JSON Schemas of the file formats, with the options of flusso's own plugins.

The examples and the documentation point at them. Run it when a model of a file or of a plugin's
options has changed; `--check` says whether it has to be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flusso_core.cli.schema import installed_models
from flusso_core.config.json_schema import config_json_schema
from flusso_core.schema.json_schema import index_json_schema

FOLDER = Path(__file__).parent.parent / "docs" / "reference" / "schemas"
OWN = frozenset(
    {
        "flusso-core",
        "flusso-source-postgres",
        "flusso-source-polling",
        "flusso-sink-opensearch",
        "flusso-sink-stdout",
    }
)


def texts() -> dict[str, str]:
    """The files by their names, as they should be."""
    schemas = {
        "flusso.schema.json": config_json_schema(installed_models(OWN)),
        "index.schema.json": index_json_schema(),
    }
    return {
        name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }


def main() -> int:
    """Write the files, or with `--check` name those that are not current."""
    stale = [
        name
        for name, text in texts().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"{FOLDER / name} is not current: run python tools/json_schemas.py")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(texts()[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
