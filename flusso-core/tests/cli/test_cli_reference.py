"""`docs/reference/command-line.md` says what the commands' own help says, all and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flusso_core.cli.app import COMMANDS, app
from flusso_core.cli.exits import ExitCode

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "command-line.md"
FLAG = re.compile(r"--[a-z][a-z-]*")


def sections() -> dict[str, str]:
    """Heading to text; what stands before the first heading is under the empty one."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


SECTIONS = sections()
SHARED = SECTIONS[""] + SECTIONS["Where the deployment is"]


def leaves(command: click.Command) -> Iterator[click.Command]:
    """The command, or those of the group."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from leaves(inner)
    else:
        yield command


def flags(name: str) -> set[str]:
    """Every long spelling of every option of a command, its subcommands included."""
    found = app.get_command(click.Context(app), name)
    assert found is not None
    return {
        flag
        for command in leaves(found)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_described(name: str) -> None:
    text = SECTIONS[f"flusso {name}"]
    described = set(FLAG.findall(text + SHARED))
    assert flags(name) - described == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_is_described_exists(name: str) -> None:
    known = flags(name) | {"--help"}
    text = re.sub(r"^\$ .*$", "", SECTIONS[f"flusso {name}"], flags=re.MULTILINE)
    assert set(FLAG.findall(text)) - known == set()


def test_every_exit_code_is_described() -> None:
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", SECTIONS["Exit codes"], re.MULTILINE)
