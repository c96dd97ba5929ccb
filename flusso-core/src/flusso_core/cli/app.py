"""The root command: finds subcommands by name, here and in plugins, and imports just one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from flusso_core.cli.exits import ExitCode
from flusso_core.cli.failures import report
from flusso_core.cli.options import Session, verbosity
from flusso_core.plugins.discovery import Kind, core_version, discover, summaries


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command of flusso's own: where it is, and its line in the help."""

    module: str
    help: str


COMMANDS: Mapping[str, LazyCommand] = {
    "build": LazyCommand("flusso_core.cli.build", "Compile config and schemas into one lock file."),
    "check": LazyCommand("flusso_core.cli.check", "Check files, plugins, source and sinks."),
    "indexes": LazyCommand("flusso_core.cli.indexes", "List the generations of each index."),
    "init": LazyCommand("flusso_core.cli.init", "Write a first deployment from a database."),
    "mapping": LazyCommand(
        "flusso_core.cli.mapping",
        "Print the fields of an index and what sinks make of them.",
    ),
    "migrate": LazyCommand("flusso_core.cli.migrate", "Turn another tool's files into flusso's."),
    "plugins": LazyCommand(
        "flusso_core.cli.plugins", "List, show and check installed plugins, and begin new ones."
    ),
    "prune": LazyCommand("flusso_core.cli.prune", "Remove generations that no run needs."),
    "quarantine": LazyCommand(
        "flusso_core.cli.quarantine",
        "List, show, replay and drop refused documents that sinks keep.",
    ),
    "reindex": LazyCommand(
        "flusso_core.cli.reindex", "Fill an index anew beside the one that serves."
    ),
    "rollback": LazyCommand(
        "flusso_core.cli.rollback", "Go back to an older generation of an index."
    ),
    "run": LazyCommand("flusso_core.cli.run", "Fill the indexes, then keep them in step."),
    "sample": LazyCommand(
        "flusso_core.cli.sample", "Build documents and print them, without writing any."
    ),
    "schema": LazyCommand("flusso_core.cli.schema", "Print the JSON Schemas of the file formats."),
    "teardown": LazyCommand("flusso_core.cli.teardown", "Remove from the source what runs made."),
    "verify": LazyCommand("flusso_core.cli.verify", "Compare an index with the database."),
}


class App(click.Group):
    """The root group. A broken plugin command breaks nothing but itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of flusso's own commands and of the plugins' ones."""
        return sorted(_help_lines())

    def get_command(
        self,
        ctx: click.Context,
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command of that name.

        Raises:
            PluginError: a plugin's command cannot be used.
        """
        own = COMMANDS.get(cmd_name)
        if own is not None:
            command = importlib.import_module(own.module).command
            assert isinstance(command, click.Command)  # noqa: S101
            return command
        if any(info.name == cmd_name for info in discover(Kind.COMMAND)):
            from flusso_core.plugins import load_command

            return load_command(cmd_name)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, or say what was probably meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            if name not in known:
                from flusso_core.plugins.cures import not_found

                ctx.fail(str(not_found(name, [Kind.COMMAND], known)))
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_help_lines().items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without importing any, and options."""
        names = [
            CompletionItem(name, help=line)
            for name, line in sorted(_help_lines().items())
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  # click's signature
        **extra: Any,
    ) -> Any:
        """Run, turn whatever goes wrong into a message, and exit with an `ExitCode`."""
        session = extra.setdefault("obj", Session())
        try:
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            code = int(result) if isinstance(result, int) else ExitCode.OK
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("Aborted.", err=True)
            code = 130
        except BrokenPipeError:
            # Whoever read our output has gone: `flusso plugins list | head -1`.
            _silence(sys.stdout)
            code = ExitCode.FAILURE
        except Exception as error:  # the outermost boundary: no traceback reaches the user
            if not standalone_mode:
                raise
            code = report(error, session.verbosity)
        if standalone_mode:
            sys.exit(code)
        return code


def _help_lines() -> dict[str, str]:
    """Every command's name and its line in the help. flusso's own names win."""
    own = {name: command.help for name, command in COMMANDS.items()}
    return {**summaries(Kind.COMMAND), **own}


def _silence(stream: Any) -> None:
    """Let the interpreter's last flush of a closed pipe go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if not value or context.resilient_parsing:
        return
    plugins = {(info.distribution, info.version) for info in discover()}
    click.echo(f"flusso-core {core_version()}")
    for distribution, version in sorted(plugins):
        if distribution != "flusso-core":
            click.echo(f"{distribution} {version}")
    context.exit()


@click.group(
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "\b\nCompletion, for bash (zsh and fish likewise):\n"
        '  eval "$(_FLUSSO_COMPLETE=bash_source flusso)"'
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of flusso-core and the plugins, and exit.",
)
@verbosity
def app() -> None:
    """Keep search indexes in step with a database."""
