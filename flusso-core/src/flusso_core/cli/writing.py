"""Writing files for people: never over one that is there."""

from __future__ import annotations

from pathlib import Path

from flusso_core.errors import FlussoError


def refuse_existing(path: Path) -> None:
    """Fail if there is anything at that path.

    Raises:
        FlussoError: there is.
    """
    if path.exists() or path.is_symlink():
        raise FlussoError(f"{path} is there already, and nothing is overwritten; move it away")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, and the folders above it.

    Raises:
        FlussoError: it is there already, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse_existing(path)
        raise
    except OSError as error:
        raise FlussoError(f"{path} cannot be written: {error.strerror}") from error
