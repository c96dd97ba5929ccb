"""Text of files, within bounds; and plain data, checked to be plain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path as FilePath

from flusso_core.errors import ConfigError
from flusso_core.files.parsed import Mark, Path, Problem, problems_error
from flusso_core.model import JsonValue

MAX_BYTES = 1024 * 1024
"""Longest file that is read. Files that people write are a hundred times shorter."""

MAX_DEPTH = 64
"""Most levels of tables and lists within each other."""

MAX_NODES = 50_000
"""Most values of a file, each use of a YAML alias counted: an alias of aliases grows
exponentially, and positions of a million values fill the memory."""


def read_text(path: FilePath) -> str:
    """The text of a file.

    Raises:
        ConfigError: it is missing, cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise ConfigError(msg) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "cannot be read"
        msg = f"{path}: {reason}"
        raise ConfigError(msg) from error
    return decode(data, str(path))


def decode(data: bytes, origin: str) -> str:
    """The bytes of a file as text, without a byte order mark.

    Raises:
        ConfigError: they are too many, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise too_long(origin)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig")
        mark = Mark(good.count("\n") + 1, len(good) - (good.rfind("\n") + 1) + 1)
        # Not chained: the decoder's error holds the file's bytes.
        raise file_error(origin, "not UTF-8 text", mark) from None


def check_text(text: str, origin: str) -> str:
    """The text without a byte order mark.

    Raises:
        ConfigError: it is too long, or holds half of a surrogate pair.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise file_error(origin, "not UTF-8 text") from None
    if len(data) > MAX_BYTES:
        raise too_long(origin)
    return text.removeprefix("\ufeff")


def check_plain(value: JsonValue, marks: Mapping[Path, Mark]) -> list[Problem]:
    """What cannot stand in any file: NUL and half characters in strings, infinities."""
    problems: list[Problem] = []
    waiting: list[tuple[Path, JsonValue]] = [((), value)]
    while waiting:
        path, here = waiting.pop()
        message = _not_plain(here)
        if message:
            problems.append(Problem(message, path, marks.get(path)))
        elif isinstance(here, Mapping):
            waiting.extend(((*path, key), inner) for key, inner in here.items())
        elif isinstance(here, list):
            waiting.extend(((*path, number), inner) for number, inner in enumerate(here))
    return problems


def _not_plain(value: JsonValue) -> str | None:
    match value:
        case str() if "\0" in value:
            return "a string cannot hold a NUL character"
        case str() if any("\ud800" <= char <= "\udfff" for char in value):
            return "a string cannot hold half of a surrogate pair"
        case float() if not math.isfinite(value):
            return "expected a finite number"
        case _:
            return None


def file_error(origin: str, message: str, mark: Mark | None = None) -> ConfigError:
    """A `ConfigError` about a file as a whole, or a place in it."""
    return problems_error(origin, [Problem(message, (), mark)])


def too_long(origin: str) -> ConfigError:
    """That a file is longer than any that people write."""
    return file_error(origin, f"too long: more than {MAX_BYTES // 1024} KiB")
