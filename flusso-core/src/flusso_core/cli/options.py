"""Options that follow the house's rules: each has an environment variable named after its flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def option(flag: str, *names: str, **attributes: Any) -> Callable[[CommandT], CommandT]:
    """A `click.option` that reads `FLUSSO_…` and says so in its help.

    The variable is named after the flag alone, whatever the command: `--slot` reads
    `FLUSSO_SLOT`. (click's own `auto_envvar_prefix` would put the command into the name.)

    Args:
        flag: the long flag, or `--yes/--no`, or a short one followed by a long one in `names`.
        names: further spellings.
        attributes: as for `click.option`.
    """
    long = next(name for name in (flag, *names) if name.startswith("--"))
    variable = "FLUSSO_" + long.removeprefix("--").partition("/")[0].upper().replace("-", "_")
    return click.option(flag, *names, envvar=variable, show_envvar=True, **attributes)


@dataclass(slots=True)
class Session:
    """What the options that every command has in common say.

    Attributes:
        verbose: how many times `-v` was given.
        quiet: how many times `-q` was given.
    """

    verbose: int = 0
    quiet: int = 0

    @property
    def verbosity(self) -> int:
        """From -2 (errors only) to 2 (everything); 0 is normal."""
        return max(-2, min(2, self.verbose - self.quiet))


def session_of(context: click.Context) -> Session:
    """The session of the command that runs, which all commands on the line share."""
    return context.find_root().ensure_object(Session)


def verbosity(command: CommandT) -> CommandT:
    """Give a command `-v` and `-q`, which count wherever they stand on the line."""

    def more(context: click.Context, _: click.Parameter, value: int) -> None:
        session = session_of(context)
        session.verbose = max(session.verbose, value)

    def less(context: click.Context, _: click.Parameter, value: int) -> None:
        session = session_of(context)
        session.quiet = max(session.quiet, value)

    decorate = option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=more,
        help="Say more; twice: everything, and the causes of an error.",
    )
    decorate_quiet = option(
        "-q",
        "--quiet",
        count=True,
        expose_value=False,
        callback=less,
        help="Say less; twice: errors only.",
    )
    return decorate(decorate_quiet(command))


def format_option(command: CommandT) -> CommandT:
    """Give a command `--format table|json`, as the parameter `output`."""
    decorate = option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table to read, or JSON to process.",
    )
    return decorate(command)
