"""The flags by which commands find a deployment and override parts of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click
from click.core import ParameterSource

from flusso_core.cli.options import option

if TYPE_CHECKING:
    from flusso_core.model import JsonValue
    from flusso_core.pipeline import Overrides

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

CONFIG = "flusso.toml"
LOCK = "flusso.lock"


def _beside_config(context: click.Context, _: click.Parameter, value: Path | None) -> Path:
    config: Path = context.params["config"]
    return config.with_name(LOCK) if value is None else value


config_option = option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG,
    show_default=True,
    is_eager=True,  # read before --lock, whose default is beside it
    help="The deployment's configuration.",
)
lock_option = option(
    "--lock",
    type=click.Path(path_type=Path),
    callback=_beside_config,
    show_default=f"{LOCK} beside the configuration",
    help="Configuration and schemas compiled into one file.",
)

_DEPLOYMENT = (
    config_option,
    lock_option,
    option("--locked", is_flag=True, help="Take the lock file as it is; read no other file."),
    option("--slot", metavar="NAME", help="Replication slot, instead of the configured one."),
    option("--publication", metavar="NAME", help="Publication, instead of the configured one."),
    option(
        "--manage-publication/--no-manage-publication",
        default=None,
        help="Whether to create and extend the publication, instead of what is configured.",
    ),
    option("--index-prefix", metavar="TEXT", help="Prefix, instead of the configured one."),
)


class DeploymentArguments(TypedDict):
    """What `deployment_options` passes to a command."""

    config: Path
    lock: Path
    locked: bool
    slot: str | None
    publication: str | None
    manage_publication: bool | None
    index_prefix: str | None


def deployment_options(command: CommandT) -> CommandT:
    """Give a command the flags of `DeploymentArguments`."""
    for decorate in reversed(_DEPLOYMENT):
        command = decorate(command)
    return command


def overrides_of(
    given: DeploymentArguments,
    *,
    sinks: Mapping[str, JsonValue] | None = None,
    queue: Mapping[str, JsonValue] | None = None,
    skip_backfill: bool = False,
) -> Overrides:
    """What the flags, and the variables that stand in for them, say on top of the files."""
    from flusso_core.pipeline import Overrides

    source: dict[str, JsonValue] = {}
    if given["slot"] is not None:
        source["slot"] = given["slot"]
    if given["publication"] is not None:
        source["publication"] = given["publication"]
    if given["manage_publication"] is not None:
        source["manage_publication"] = given["manage_publication"]
    return Overrides(
        variables=_variables(click.get_current_context()),
        prefix=given["index_prefix"],
        source=source,
        sinks=sinks,
        queue=queue,
        skip_backfill=skip_backfill,
    )


def valid_address(key: str, flag: str) -> str:
    """The address that a flag names, in place of a key of `[server]`.

    Raises:
        ConfigError: it is none.
    """
    from flusso_core.config.format import ServerModel
    from flusso_core.files import ParsedFile, validate

    validate(ServerModel, {key: flag}, file=ParsedFile(f"--{key.replace('_', '-')}", {}))
    return flag


def _variables(context: click.Context) -> dict[str, str]:
    """The environment variables that parameters of this command come from, by key."""
    return {
        parameter.name: parameter.envvar
        for parameter in context.command.params
        if isinstance(parameter.envvar, str)
        and context.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
    }
