"""`flusso plugins`: which backends are installed, what they take, whether they load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flusso_core.cli.console import print_json, print_table
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import format_option, option, session_of, verbosity
from flusso_core.plugins import Kind, PluginInfo, PluginLoader, core_version, discover
from flusso_core.plugins.cures import not_found
from flusso_core.plugins.loading import find

if TYPE_CHECKING:
    from flusso_core.model import JsonValue

# Those that have options.
CONFIGURED = (Kind.CAPTURE, Kind.BUILDER, Kind.SINK, Kind.QUEUE)


def _complete_type(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    found = {info.name for info in discover() if info.kind in CONFIGURED}
    return sorted(name for name in found if name.startswith(incomplete))


@click.group()
def command() -> None:
    """List, show and check installed plugins, and begin new ones."""


_ENTRY = (
    "{kind, type, distribution, version, origin: wheel | editable | unknown,\n"
    "                  requires (of flusso-core; empty: any), in_range"
)


@command.command(
    name="list",
    epilog=f"\b\nJSON: {{version: 1, core, plugins: [\n                 {_ENTRY}}}]}}",
)
@format_option
@verbosity
def list_plugins(output: str) -> None:
    """List installed plugins, without importing any."""
    found = discover()
    if output == "json":
        print_json({"core": core_version(), "plugins": [_as_json(info) for info in found]})
        return
    print_table(
        ("KIND", "TYPE", "DISTRIBUTION", "VERSION", "ORIGIN", "FLUSSO-CORE", "IN RANGE"),
        [
            (
                info.kind.value,
                info.name,
                info.distribution,
                info.version,
                info.origin.value,
                info.requires or "any",
                "yes" if info.in_range else "no",
            )
            for info in found
        ],
    )


@command.command(
    epilog=(
        f"\b\nJSON: {{version: 1, plugins: [\n                 {_ENTRY},\n"
        "                  options: [{name, type, required, default, help}]}]}"
    )
)
@click.argument("name", metavar="TYPE", shell_complete=_complete_type)
@option(
    "--kind",
    type=click.Choice([kind.value for kind in CONFIGURED]),
    help="Only this kind, where several have a plugin of that type.",
)
@format_option
@verbosity
def show(name: str, kind: str | None, output: str) -> None:
    """Show the options of a plugin: types, defaults, help."""
    from flusso_core.cli.plugin_options import describe

    kinds = CONFIGURED if kind is None else (Kind(kind),)
    installed = [info for info in discover() if info.kind in kinds]
    wanted = dict.fromkeys(info.kind for info in installed if info.name == name)
    if not wanted:
        raise not_found(name, kinds, [info.name for info in installed])
    infos = [find(of, name) for of in wanted]
    loader = PluginLoader()
    options = {of: describe(loader.configured(of, name).options) for of in wanted}
    if output == "json":
        print_json(
            {
                "plugins": [
                    {**_as_json(info), "options": [each.as_json() for each in options[info.kind]]}
                    for info in infos
                ]
            }
        )
        return
    for number, info in enumerate(infos):
        if number:
            click.echo()
        click.echo(f"{info.kind.value} {info.name} ({info.distribution} {info.version})")
        rows = [
            (each.name, each.type, "required" if each.required else each.default_text, each.help)
            for each in options[info.kind]
        ]
        if rows:
            print_table(("OPTION", "TYPE", "DEFAULT", "HELP"), rows)


@command.command(
    epilog=(
        f"\b\nJSON: {{version: 1, ok, plugins: [\n                 {_ENTRY},\n"
        "                  error or null}]}"
    )
)
@format_option
@verbosity
def check(output: str) -> ExitCode:
    """Load each plugin by itself and say what fails; with one that does, end with 4."""
    results = PluginLoader().check(discover())
    ok = all(result.error is None for result in results)
    if output == "json":
        print_json(
            {
                "ok": ok,
                "plugins": [
                    {
                        **_as_json(result.info),
                        "error": None if result.error is None else str(result.error),
                    }
                    for result in results
                ],
            }
        )
    else:
        print_table(
            ("KIND", "TYPE", "DISTRIBUTION", "VERSION", "RESULT"),
            [
                (
                    result.info.kind.value,
                    result.info.name,
                    result.info.distribution,
                    result.info.version,
                    "ok" if result.error is None else str(result.error),
                )
                for result in results
            ],
        )
    return ExitCode.OK if ok else ExitCode.PLUGIN


@command.command()
@click.argument("kind", type=click.Choice(["sink", "capture", "builder", "queue", "hooks"]))
@click.argument("name", metavar="NAME")
@option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="the current one",
    help="Where the package's folder goes.",
)
@verbosity
@click.pass_context
def new(context: click.Context, kind: str, name: str, folder: Path) -> None:
    """Write a package for a new plugin, with tests on the conformance kit.

    NAME is its type in the configuration. The package works as it stands: install it, run its
    tests, then make it yours.
    """
    from flusso_core.cli.console import stderr
    from flusso_core.cli.scaffolding import scaffold

    files = scaffold(Kind(kind), name, folder)
    for path in files:
        click.echo(path)
    if session_of(context).verbosity >= 0:
        package = next(path.parent for path in files if path.name == "pyproject.toml")
        stderr().print(f'next: cd {package} && pip install -e ".[test]" && pytest')


def _as_json(info: PluginInfo) -> dict[str, JsonValue]:
    return {
        "kind": info.kind.value,
        "type": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "origin": info.origin.value,
        "requires": info.requires,
        "in_range": info.in_range,
    }
