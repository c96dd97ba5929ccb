"""How an error reaches the user: one clear message on stderr, and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import cast

from flusso_core.cli.exits import ExitCode, exit_code_of
from flusso_core.errors import FlussoError


def report(error: Exception, verbosity: int) -> ExitCode:
    """Print what went wrong and return the code to end with.

    An error that flusso raised on purpose is its message, and with `-vv` the errors behind it.
    Any other is a defect: its message, and with `-v` the traceback.
    """
    from rich.text import Text

    from flusso_core.cli.console import stderr

    cause = _most_telling(error)
    console = stderr()
    if isinstance(cause, FlussoError):
        console.print(Text.assemble(("error: ", "bold red"), str(cause)))
        if verbosity >= 2:
            for behind in _chain(cause):
                console.print(Text(f"caused by {type(behind).__name__}: {behind}"))
    else:
        if verbosity >= 1:
            console.print(Text("".join(traceback.format_exception(error)).rstrip()))
        said = f"{type(cause).__name__}: {cause}".rstrip(": ")
        hint = "" if verbosity >= 1 else " (-v shows where; please report it)"
        console.print(Text.assemble(("error: ", "bold red"), f"unexpected {said}{hint}"))
    return exit_code_of(cause)


def _most_telling(error: Exception) -> BaseException:
    """The error itself, or out of a group the first that was raised on purpose."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, FlussoError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The errors behind an error, as a traceback would show them."""
    seen = {id(error)}
    while True:
        behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if behind is None or id(behind) in seen:
            return
        seen.add(id(behind))
        yield behind
        error = behind
