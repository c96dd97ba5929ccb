"""Plain data with the position of every key, and the problems found in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from flusso_core.errors import ConfigError
from flusso_core.model import JsonValue

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is: keys of tables and indexes of lists, from the file's root."""

_LONGEST = 24
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Mark(NamedTuple):
    """A position in a file; line and column count from one."""

    line: int
    column: int


def path_text(path: Path) -> str:
    """A path as messages write it: `sinks.primary.url`, `fields[2].column`, a long one cut off."""
    text = ""
    for part in path[:_LONGEST]:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else _quoted(part)
            text += f".{name}" if text else name
    return text if len(path) <= _LONGEST else f"{text}…"


def _quoted(name: str) -> str:
    """An odd key, on one line and of bounded length, in double quotes."""
    shown = name if len(name) <= 60 else name[:57] + "…"
    return '"' + shown.encode("unicode_escape").decode("ascii") + '"'


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What a file says, and where.

    Attributes:
        origin: the file's name, for messages.
        data: plain values: tables as dicts, lists, strings, numbers, booleans, `None`.
        marks: where each key, and each element of a list, begins. The values themselves may be
            secrets, so that neither they nor the text show in `repr`.
    """

    origin: str
    data: Mapping[str, JsonValue] = field(repr=False)
    marks: Mapping[Path, Mark] = field(default_factory=dict[Path, Mark], repr=False)

    def mark(self, path: Path) -> Mark | None:
        """Where that key is, or else the nearest thing that holds it; `None`: not known."""
        for length in range(len(path), -1, -1):
            found = self.marks.get(path[:length])
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file.

    Attributes:
        message: what is wrong, and what to do.
        path: the key.
        mark: where it is; `None`: the file as a whole, or somewhere else.
        origin: where the value comes from, if that is not the file.
    """

    message: str
    path: Path = ()
    mark: Mark | None = None
    origin: str | None = None

    def line(self, file: str) -> str:
        """As it is shown: `flusso.toml:12:1: sinks.primary.batchsize: unknown key`."""
        origin = self.origin or file
        place = f"{origin}:{self.mark.line}:{self.mark.column}" if self.mark else origin
        where = path_text(self.path)
        return f"{place}: {where}: {self.message}" if where else f"{place}: {self.message}"


class Problems:
    """Collects the problems of one file, so that all of them are told at once."""

    def __init__(self, file: ParsedFile) -> None:
        self._file = file
        self._found: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: Path, message: str, *, origin: str | None = None) -> None:
        """Note that something is wrong at that path, or with a value from `origin` for it."""
        mark = None if origin else self._file.mark(path)
        self._found.append(Problem(message, path, mark, origin))

    def twice(self, path: Path, what: str, first: Path) -> None:
        """Note that what is at a path was at another one before."""
        mark = self._file.mark(first)
        where = f", first in line {mark.line}" if mark else ""
        self.add(path, f"{what} comes twice{where}")

    def raise_any(self) -> None:
        """Raise a `ConfigError` with a line for each problem, in the file's order, if any."""
        if self._found:
            raise problems_error(self._file.origin, self._found)


def problems_error(origin: str, problems: Iterable[Problem]) -> ConfigError:
    """A `ConfigError` with a line for each problem, in the file's order, none twice."""
    ordered = sorted(problems, key=lambda problem: problem.mark or Mark(0, 0))
    return ConfigError("\n".join(dict.fromkeys(problem.line(origin) for problem in ordered)))
