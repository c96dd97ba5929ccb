from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from flusso_core.cli import ExitCode
from flusso_core.cli.app import COMMANDS, app
from flusso_core.errors import (
    ConfigError,
    FlussoError,
    PluginConflict,
    PluginNotFound,
    SinkFatal,
    SourceUnavailable,
)
from flusso_core.plugins import core_version

HEAVY = re.compile(
    r"^(pydantic|psycopg|opensearchpy|aiohttp|sqlalchemy|ruamel|flusso_(source|sink)_\w+"
    r"|flusso_sandbox|flusso_core\.(config|schema|engine|hookspecs|pipeline|testing))(\.|$)"
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for `PYTHONPATH` with plugin commands: one that works, one broken, one slow."""
    site = tmp_path / "site"
    info = site / "fancy_command-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fancy-command\nVersion: 1.0\nSummary: Fancy things.\n"
    )
    (info / "entry_points.txt").write_text(
        "[flusso.commands]\nfancy = fancy_command:command\nbroken = fancy_broken:command\n"
        "slow = fancy_slow:command\n[flusso.sinks]\nslow = fancy_slow\n"
    )
    (site / "fancy_command.py").write_text(
        "import click\n@click.command()\ndef command():\n    click.echo('fancy!')\n    return 3\n"
    )
    (site / "fancy_broken.py").write_text("raise RuntimeError('kaputt')\n")
    (site / "fancy_slow.py").write_text("import time\ntime.sleep(600)\n")
    return site


def flusso(
    *args: str, path: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user would."""
    inherited = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    if path is not None:
        inherited["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", "from flusso_core.cli import main; main()", *args],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def imported_by(*args: str, path: Path) -> set[str]:
    """Modules in memory after a command."""
    code = (
        "import json, sys\nfrom flusso_core.cli import main\n"
        "try:\n    main()\nfinally:\n    print(json.dumps(list(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["check", "--help"],
        ["sample", "--help"],
        ["mapping", "--help"],
        ["init", "--help"],
        ["migrate", "pgsync", "--help"],
        ["plugins", "new", "--help"],
        ["plugins", "list"],
        ["plugins", "list", "--format", "json"],
    ],
)
def test_help_and_lists_import_no_backend_and_no_driver(args: Sequence[str], site: Path) -> None:
    modules = imported_by(*args, path=site)
    assert sorted(name for name in modules if HEAVY.match(name)) == []
    assert not {"fancy_command", "fancy_broken", "fancy_slow"} & modules


def test_the_root_help_imports_nothing_that_only_loading_a_plugin_needs(site: Path) -> None:
    assert not {"packaging", "pluggy"} & imported_by("--help", path=site)


def test_help_lists_plugin_commands_by_their_summary_however_broken(site: Path) -> None:
    done = flusso("--help", path=site)
    assert done.returncode == ExitCode.OK
    for name in ("fancy", "broken", "slow"):
        assert re.search(rf"^  {name} +Fancy things\.$", done.stdout, re.MULTILINE)
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", done.stdout, re.MULTILINE)


def test_a_plugin_command_runs_and_its_code_is_the_exit_code(site: Path) -> None:
    done = flusso("fancy", path=site)
    assert (done.stdout, done.returncode) == ("fancy!\n", 3)


def test_a_broken_plugin_command_names_its_distribution(site: Path) -> None:
    done = flusso("broken", path=site)
    assert done.returncode == ExitCode.PLUGIN
    assert done.stdout == ""
    assert "fancy-command 1.0" in done.stderr
    assert "kaputt" in done.stderr
    assert "Traceback" not in done.stderr


def test_completion_imports_nothing_either(site: Path) -> None:
    done = flusso(
        path=site, _FLUSSO_COMPLETE="bash_complete", COMP_WORDS="flusso s", COMP_CWORD="1"
    )
    assert done.stdout == "plain,sample\nplain,schema\nplain,slow\n"
    script = flusso(_FLUSSO_COMPLETE="bash_source").stdout
    assert "_FLUSSO_COMPLETE=bash_complete" in script


def test_completion_knows_options_and_commands() -> None:
    complete = ShellComplete(app, {}, "flusso", "_FLUSSO_COMPLETE")
    assert "plugins" in [item.value for item in complete.get_completions([], "p")]
    assert "--queue-capacity" in [item.value for item in complete.get_completions(["run"], "--q")]


def test_completion_knows_types_of_plugins_and_names_of_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ShellComplete(app, {}, "flusso", "_FLUSSO_COMPLETE")

    def completed(*args: str, incomplete: str) -> list[str]:
        return [item.value for item in complete.get_completions(list(args), incomplete)]

    assert completed("plugins", "show", incomplete="mem") == ["memory"]
    monkeypatch.chdir(tmp_path)
    assert completed("sample", incomplete="") == []
    (tmp_path / "flusso.toml").write_text('[[index]]\nname = "users"\n[[index]]\nname = "uses"\n')
    assert completed("sample", incomplete="u") == ["users", "uses"]
    (tmp_path / "other.toml").write_text('[[index]]\nname = "orders"\n')
    assert completed("mapping", "--config", "other.toml", incomplete="") == ["orders"]
    (tmp_path / "flusso.toml").write_text("[[index")
    assert completed("mapping", incomplete="") == []


def test_a_variable_means_the_same_to_every_command() -> None:
    """It is named after the flag alone, so that flags of one name have one meaning."""
    meanings: dict[str, set[str]] = {}
    for _, command in ALL:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                kind = f"{parameter.type.name} {parameter.metavar} {parameter.is_flag}"
                meanings.setdefault(str(parameter.envvar), set()).add(kind)
    assert {name: kinds for name, kinds in meanings.items() if len(kinds) > 1} == {}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path) or "flusso", command
    if isinstance(command, click.Group):
        own = COMMANDS if command is app else command.commands
        context = click.Context(command)
        for name in own:
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


ALL = list(walk(app))


def test_every_command_is_walked() -> None:
    assert {path for path, _ in ALL} >= {"flusso", "run", "check", "build", "plugins list"}


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_flag_has_a_variable_named_after_it_alone_and_shown(
    path: str, command: click.Command
) -> None:
    words = [] if path == "flusso" else path.split()
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="flusso").output
    shown = re.sub(r"\s+", " ", text)
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.name == "version":
            continue
        long = next(name for name in parameter.opts if name.startswith("--"))
        variable = "FLUSSO_" + long.removeprefix("--").replace("-", "_").upper()
        assert parameter.envvar == variable
        assert f"env var: {variable}" in shown
        assert parameter.help


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(path: str, command: click.Command, flag: str) -> None:
    words = [] if path == "flusso" else path.split()
    result = CliRunner().invoke(app, [*words, flag], prog_name="flusso")
    assert result.exit_code == ExitCode.OK
    assert result.stdout.startswith("Usage: flusso")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_in_the_help_is_the_commands_own(name: str) -> None:
    module = importlib.import_module(COMMANDS[name].module)
    assert module.command.get_short_help_str(100) == COMMANDS[name].help


def test_the_version_is_that_of_the_core_and_of_every_plugin(site: Path) -> None:
    lines = flusso("--version", path=site).stdout.splitlines()
    assert lines[0] == f"flusso-core {core_version()}"
    assert "fancy-command 1.0" in lines


def test_an_unknown_command_is_a_usage_error_with_the_nearest_name() -> None:
    result = CliRunner().invoke(app, ["chekc"])
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert "Did you mean 'check'?" in result.stderr


@pytest.mark.parametrize("args", [["run", "--nonsense"], ["plugins", "show"], ["--nonsense"]])
def test_a_usage_error_ends_with_2_on_stderr(args: Sequence[str]) -> None:
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""


def failing_with(error: BaseException, *args: str) -> tuple[int, str]:
    @click.command()
    def command() -> None:
        raise error

    def loaded(_: str) -> click.Command:
        return command

    class Info:
        name = "failing"
        summary = "It fails."
        distribution = "failing"

    def discover(_: object) -> list[type[Info]]:
        return [Info]

    def summaries(_: object) -> dict[str, str]:
        return {Info.name: Info.summary}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flusso_core.cli.app.discover", discover)
        patch.setattr("flusso_core.cli.app.summaries", summaries)
        patch.setattr("flusso_core.plugins.load_command", loaded)
        result = CliRunner().invoke(app, [*args, "failing"])
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("flusso.toml:1:1: no"), ExitCode.INVALID_CONFIG),
        (PluginNotFound("no"), ExitCode.PLUGIN),
        (PluginConflict("no"), ExitCode.PLUGIN),
        (SourceUnavailable("no"), ExitCode.FAILURE),
        (SinkFatal("no"), ExitCode.FAILURE),
        (FlussoError("no"), ExitCode.FAILURE),
    ],
)
def test_an_error_is_one_message_and_a_code(error: FlussoError, code: ExitCode) -> None:
    assert failing_with(error) == (code, f"error: {error}\n")


def test_the_errors_behind_an_error_show_with_vv() -> None:
    error = SinkFatal("the sink said no")
    error.__cause__ = OSError("connection reset")
    error.__cause__.__context__ = ValueError("hidden")
    error.__cause__.__suppress_context__ = True
    assert failing_with(error, "-v")[1] == "error: the sink said no\n"
    assert failing_with(error, "-vv") == (
        ExitCode.FAILURE,
        "error: the sink said no\ncaused by OSError: connection reset\n",
    )


def test_a_defect_is_a_message_and_a_traceback_only_with_v() -> None:
    code, text = failing_with(RuntimeError("kaputt"))
    assert code == ExitCode.FAILURE
    assert text == "error: unexpected RuntimeError: kaputt (-v shows where; please report it)\n"
    code, text = failing_with(RuntimeError("kaputt"), "-v")
    assert text.startswith("Traceback (most recent call last)")
    assert text.endswith("error: unexpected RuntimeError: kaputt\n")


def test_out_of_a_group_the_error_on_purpose_is_told() -> None:
    inner = ExceptionGroup("inner", [OSError("x"), ConfigError("the reason")])
    code, text = failing_with(ExceptionGroup("outer", [RuntimeError("y"), inner]))
    assert (code, text) == (ExitCode.INVALID_CONFIG, "error: the reason\n")


def test_an_interrupt_ends_with_130() -> None:
    assert failing_with(KeyboardInterrupt())[0] == 130


def test_colour_follows_the_environment() -> None:
    plain = flusso("plugins", "list")
    assert "\x1b" not in plain.stdout
    forced = flusso("plugins", "list", FORCE_COLOR="1")
    assert "\x1b[1m" in forced.stdout
    coloured = flusso("plugins", "show", "zzz", FORCE_COLOR="1")
    assert "\x1b[1;31m" in coloured.stderr
    no_colour = flusso("plugins", "show", "zzz", FORCE_COLOR="1", NO_COLOR="1")
    assert "31m" not in no_colour.stderr


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -c 'from flusso_core.cli import main; main()' plugins list"
        " --format json | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
