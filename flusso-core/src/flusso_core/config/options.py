"""Options of a backend: a table of the configuration that its plugin's own model validates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from flusso_core.files import ParsedFile, Path, validate
from flusso_core.model import JsonValue

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class OptionsTable:
    """The keys of a `[source]`, `[sinks.NAME]` or `[queue]` table that belong to its backend.

    Attributes:
        values: the keys as the file has them; they may hold secrets and do not show in `repr`.
        path: where the table is: `("sinks", "primary")`.
        file: the file that it stands in, for positions.
        general: keys that flusso itself has taken out of the table; they may be suggested for a
            misspelt one.
        locked: the table comes from a lock file, which leaves literal secrets out.
        origins: by key, where a value comes from that is not of the file: a flag, a variable.
    """

    values: Mapping[str, JsonValue] = field(repr=False)
    path: Path = ()
    file: ParsedFile | None = None
    general: tuple[str, ...] = ()
    locked: bool = False
    origins: Mapping[str, str] = field(default_factory=dict[str, str])


def validate_options(table: OptionsTable, model: type[ModelT]) -> ModelT:
    """The table as the plugin's options model, which need not forbid unknown keys itself.

    Types are those of the file: a number in quotes is not a number.

    Raises:
        ConfigError: with file, line, column, key path, and what was expected, for every problem
            of the table. It quotes no value.
    """
    return validate(
        model,
        table.values,
        file=table.file or ParsedFile("options", {}),
        path=table.path,
        context={"lock": True} if table.locked else None,
        also_known=table.general,
        origins=table.origins,
    )
