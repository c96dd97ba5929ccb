"""The commands that read a deployment, over a backend in memory, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from flusso_core.cli import ExitCode

if TYPE_CHECKING:
    from .conftest import Place


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read the process's log until that text comes; the test's own timeout bounds it."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    pytest.fail(f"the log ended without {text!r}: {seen}")


def test_once_fills_the_index_writes_the_lock_and_ends_with_0(place: Place) -> None:
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK, done.stderr
    assert sorted(place.written["documents"]) == ["0", "1", "2", "3", "4"]
    assert (place.folder / "flusso.lock").exists()
    assert done.stdout == ""
    assert "out: filling index parents" in done.stderr
    assert "out: index parents is filled" in done.stderr
    assert "5 documents written" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_hook_that_fails_is_logged_and_the_run_goes_on(place: Place) -> None:
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK
    assert "the observer _Raising failed and is told nothing more" in done.stderr


def test_quiet_says_nothing_of_a_run_that_goes_well(place: Place) -> None:
    (place.folder / "site" / "fake_backend-1.0.dist-info" / "entry_points.txt").write_text(
        "".join(f"[flusso.{k}]\nfake = fake_backend\n" for k in ("captures", "builders", "sinks"))
    )
    done = place.run("run", "--backfill-only", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.OK, "", "")


def test_flags_override_the_files_and_variables_and_the_flag_wins(place: Place) -> None:
    place.source |= {"slot": "configured", "publication": "configured"}
    place.write()
    done = place.run(
        *("run", "--once", "--slot", "flag", "--no-manage-publication"),
        *("--index-prefix", "test_", "--pretty", "--queue-capacity", "5"),
        FLUSSO_SLOT="variable",
        FLUSSO_PUBLICATION="variable",
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert place.written["documents"]["0"]["name"] == "flag variable False"
    assert (place.written["prefix"], place.written["pretty"]) == ("test_", True)


def test_a_flag_that_the_source_does_not_know_is_told(place: Place) -> None:
    text = (place.folder / "site" / "fake_backend.py").read_text()
    (place.folder / "site" / "fake_backend.py").write_text(
        text.replace('    slot: str = "flusso"\n', "")
    )
    done = place.run("run", "--once", "--slot", "mine")
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "--slot: the source 'fake' has no option slot" in done.stderr
    done = place.run("run", "--once", FLUSSO_SLOT="mine")
    assert "environment variable FLUSSO_SLOT: the source 'fake' has no option" in done.stderr


def test_a_prefix_that_no_index_can_have_is_refused(place: Place) -> None:
    done = place.run("check", "--offline", "--index-prefix", "Über")
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "--index-prefix: prefix: expected lower-case letters" in done.stderr


def test_skip_backfill_reads_no_row(place: Place) -> None:
    done = place.run("run", "--once", "--skip-backfill")
    assert done.returncode == ExitCode.OK, done.stderr
    assert place.written["documents"] == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_ends_with_0(place: Place, number: signal.Signals) -> None:
    with place.start("run") as process:
        wait_for(process, ": live")
        process.send_signal(number)
        log = wait_for(process, "stopped")
        assert process.wait(30) == ExitCode.OK
    assert f"{number.name}: finishing what is under way" in log
    assert len(place.written["documents"]) == 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(place: Place, number: signal.Signals, code: int) -> None:
    place.sink["hang"] = True
    place.write()
    with place.start("run") as process:
        wait_for(process, "backfilling")
        process.send_signal(number)
        wait_for(process, "finishing what is under way")
        process.send_signal(number)
        assert process.wait(5) == code


def test_a_run_that_cannot_go_on_is_one_message_and_1(place: Place) -> None:
    place.source["broken"] = True
    place.write()
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.FAILURE
    assert done.stderr.splitlines()[-1] == "error: the role may not replicate"
    assert "Traceback (most recent call last)" not in done.stderr.partition("error: ")[2]


def test_an_unset_variable_of_a_secret_is_a_config_error(place: Place) -> None:
    (place.folder / "flusso.toml").write_text(
        (place.folder / "flusso.toml")
        .read_text()
        .replace('type = "fake"\n', 'type = "fake"\npassword = { env = "NOT_SET" }\n', 1)
    )
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "NOT_SET" in done.stderr


def test_a_wrong_option_says_where_and_what(place: Place) -> None:
    place.source["slto"] = "x"
    place.write()
    for name in ("run", "check"):
        done = place.run(name)
        assert done.returncode == ExitCode.INVALID_CONFIG
        assert "flusso.toml:4:1: source.slto: unknown key; did you mean slot?" in done.stderr


def test_a_missing_plugin_says_what_to_install(place: Place) -> None:
    place.sink["type"] = "fakee"
    place.write()
    done = place.run("check", "--offline")
    assert done.returncode == ExitCode.PLUGIN
    assert "no sink 'fakee' is installed. Did you mean 'fake'?" in done.stderr


@pytest.mark.parametrize("name", ["run", "check", "build"])
def test_a_missing_configuration_is_told(place: Place, name: str) -> None:
    (place.folder / "flusso.toml").unlink()
    done = place.run(name)
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "flusso.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_once_and_backfill_only_exclude_each_other(place: Place) -> None:
    assert place.run("run", "--once", "--backfill-only").returncode == ExitCode.USAGE


def test_a_lock_file_runs_without_the_files_it_was_built_from(place: Place) -> None:
    assert place.run("build").returncode == ExitCode.OK
    (place.folder / "flusso.toml").unlink()
    (place.folder / "parents.schema.yml").unlink()
    before = (place.folder / "flusso.lock").read_bytes()
    for args in (("--locked",), ()):
        done = place.run("run", "--once", *args)
        assert done.returncode == ExitCode.OK, done.stderr
        assert len(place.written["documents"]) == 5
    assert (place.folder / "flusso.lock").read_bytes() == before


def test_the_lock_file_is_beside_the_configuration(place: Place) -> None:
    folder = place.folder / "conf"
    folder.mkdir()
    for name in ("flusso.toml", "parents.schema.yml"):
        (place.folder / name).rename(folder / name)
    assert place.run("build", "--config", "conf/flusso.toml").returncode == ExitCode.OK
    assert (folder / "flusso.lock").exists()
    assert not (place.folder / "flusso.lock").exists()
    done = place.run("check", "--offline", "--locked", FLUSSO_CONFIG="conf/flusso.toml")
    assert done.returncode == ExitCode.OK, done.stderr


def test_locked_ignores_the_configuration(place: Place) -> None:
    assert place.run("build").returncode == ExitCode.OK
    (place.folder / "flusso.toml").write_text("nonsense")
    assert place.run("check", "--locked", "--offline").returncode == ExitCode.OK


def test_a_lock_that_cannot_be_written_fails_a_build_but_not_a_run(place: Place) -> None:
    done = place.run("build", "--lock", "nowhere/flusso.lock")
    assert done.returncode == ExitCode.FAILURE
    assert "nowhere/flusso.lock cannot be written" in done.stderr
    done = place.run("run", "--once", "--lock", "nowhere/flusso.lock")
    assert done.returncode == ExitCode.OK
    assert "nowhere/flusso.lock is not rewritten" in done.stderr


def test_plugins_are_shown_and_checked(place: Place) -> None:
    done = place.run("plugins", "show", "fake", "--format", "json")
    assert done.returncode == ExitCode.OK, done.stderr
    content = json.loads(done.stdout)
    assert content["version"] == 1
    assert [entry["kind"] for entry in content["plugins"]] == ["capture", "builder", "sink"]
    [path, *_] = content["plugins"][2]["options"]
    assert path == {
        "name": "path",
        "type": "string",
        "required": True,
        "default": None,
        "help": "",
    }
    table = place.run("plugins", "show", "fake", "--kind", "sink").stdout.splitlines()
    assert table[0] == "sink fake (fake-backend 1.0)"
    assert [line.split()[0] for line in table[1:]] == [
        "OPTION",
        "path",
        "pretty",
        "hang",
        "found",
        "refuses",
        "down",
        "past",
        "forgetful",
        "holds",
        "behind",
    ]


def test_plugins_check_says_what_fails_and_ends_with_4(place: Place) -> None:
    (place.folder / "site" / "fake_backend.py").write_text("raise RuntimeError('kaputt')\n")
    done = place.run("plugins", "check", "--format", "json")
    assert done.returncode == ExitCode.PLUGIN
    content = json.loads(done.stdout)
    assert content["ok"] is False
    errors = {
        (entry["distribution"], entry["kind"]): entry["error"] for entry in content["plugins"]
    }
    assert "kaputt" in errors["fake-backend", "sink"]
    assert errors["flusso-core", "queue"] is None
    assert "kaputt" in place.run("plugins", "check").stdout


def test_plugins_list_is_versioned_json(place: Place) -> None:
    content = json.loads(place.run("plugins", "list", "--format", "json").stdout)
    assert content["version"] == 1
    assert {
        "kind": "capture",
        "type": "fake",
        "distribution": "fake-backend",
        "version": "1.0",
        "origin": "unknown",
        "requires": "",
        "in_range": True,
    } in content["plugins"]
