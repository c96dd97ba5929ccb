"""`flusso.lock`: a configuration and its schemas, compiled into one portable file.

JSON, version 1, deterministic: the same files give the same bytes.

```json
{
  "flusso_lock": 1,
  "config": {"source": {"type": "postgres", "connection_url": {"env": "DATABASE_URL"}}},
  "schemas": {"users.schema.yml": {"version": 1, "table": "users", "fields": []}},
  "hashes": {"users": "3ad55ddebdeb"}
}
```

A lock file holds no secret. References to environment variables stay; a literal that an options
model keeps in a `Secret` becomes `{"omitted": true}`, and then the reserved variable has to be
set where the lock file runs (`Secret.resolve` says which). Only the plugins' models know which
options are secrets, so that compiling needs the plugins; loading does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from flusso_core.config.deployment import Deployment
from flusso_core.config.loading import lower_deployment
from flusso_core.config.redaction import without_secrets
from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, validate
from flusso_core.model import JsonValue

LOCK_VERSION = 1
"""Of the lock file's format."""

MAX_LOCK_BYTES = 64 * 1024 * 1024
"""Longest lock file that is read."""


@dataclass(frozen=True, slots=True)
class OptionsModels:
    """The options models of the plugins that a deployment names.

    Attributes:
        source: of the capture and of the builder.
        sinks: by the sinks' names in the configuration.
        queue: of the queue.
    """

    source: tuple[type[BaseModel], ...]
    sinks: Mapping[str, type[BaseModel]] = field(default_factory=dict[str, type[BaseModel]])
    queue: type[BaseModel] | None = None


class _LockModel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    flusso_lock: Literal[1]
    config: dict[str, Any]
    schemas: dict[str, dict[str, Any]]
    hashes: dict[str, str] = Field(default_factory=dict[str, str])


def compile_lock(deployment: Deployment, models: OptionsModels) -> str:
    """The text of a deployment's lock file, without secrets.

    Args:
        deployment: as `load_deployment` reads it; its options should have been validated, as
            those that no model knows are left out.
        models: of the plugins that it names.
    """
    config: dict[str, JsonValue] = dict(deployment.file.data)
    config["source"] = {
        **_general(config.get("source"), deployment.source.options.general),
        **without_secrets(deployment.source.options.values, models.source),
    }
    config["sinks"] = _sinks(deployment, models)
    if "queue" in config:
        queue = deployment.queue.options
        known = (models.queue,) if models.queue else ()
        config["queue"] = {
            **_general(config["queue"], queue.general),
            **without_secrets(queue.values, known),
        }
    lock = {
        "flusso_lock": LOCK_VERSION,
        "config": config,
        "schemas": {name: file.data for name, file in deployment.schema_files.items()},
        "hashes": {index.name: index.schema.schema_hash for index in deployment.indexes},
    }
    return json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _sinks(deployment: Deployment, models: OptionsModels) -> dict[str, JsonValue]:
    sinks: dict[str, JsonValue] = {}
    for name, sink in deployment.sinks.items():
        known = (models.sinks[name],) if name in models.sinks else ()
        general: dict[str, JsonValue] = {"type": sink.type}
        if sink.detach_after is not None:
            general["detach_after"] = sink.detach_after
        sinks[name] = {**general, **without_secrets(sink.options.values, known)}
    return sinks


def _general(table: JsonValue, keys: tuple[str, ...]) -> dict[str, JsonValue]:
    """The keys of a backend's table that flusso itself reads."""
    found = cast(Mapping[str, JsonValue], table)
    return {key: found[key] for key in keys if key in found}


def write_lock(deployment: Deployment, path: Path, models: OptionsModels) -> bool:
    """Write a deployment's lock file, unless it says the same already.

    Returns:
        Whether the file has changed.

    Raises:
        OSError: it cannot be written.
    """
    data = compile_lock(deployment, models).encode()
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return False
    # A reader sees the old file or the new one, never a part.
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(data)
    draft.replace(path)
    return True


def load_lock(path: Path) -> Deployment:
    """The deployment that a lock file holds.

    Raises:
        ConfigError: it cannot be read, is no lock file, or one that other versions of flusso
            would understand differently.
    """
    file = ParsedFile(str(path), _read(path))
    model = validate(_LockModel, file.data, file=file)

    def read(name: str) -> ParsedFile:
        if name not in model.schemas:
            raise ConfigError(f"{path}: the schema {name} is missing; build the lock file again")
        return ParsedFile(f"{path}: {name}", model.schemas[name])

    deployment = lower_deployment(ParsedFile(str(path), model.config), read, locked=True)
    for index in deployment.indexes:
        if model.hashes.get(index.name) != index.schema.schema_hash:
            raise ConfigError(
                f"{path}: the index {index.name} was compiled from another schema, or by a "
                "version of flusso that reads it differently; build the lock file again"
            )
    return deployment


def _read(path: Path) -> dict[str, JsonValue]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK_BYTES + 1)
        value: object = json.loads(data.decode()) if len(data) <= MAX_LOCK_BYTES else None
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; flusso build writes it") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a lock file; build it again") from error
    if not isinstance(value, dict) or "flusso_lock" not in value:
        raise ConfigError(f"{path}: not a lock file; build it again")
    table = cast(dict[str, JsonValue], value)
    if table["flusso_lock"] != LOCK_VERSION:
        raise ConfigError(f"{path}: of another version of flusso; build it again")
    return table
