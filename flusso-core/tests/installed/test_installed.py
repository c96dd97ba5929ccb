"""flusso as its users install it: built wheels in clean environments, and nothing else.

nox's session `wheels` builds the wheels and names them in `FLUSSO_TEST_WHEELS`; uv takes everything
else from its cache or, the first time, from the registry.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytestmark = pytest.mark.wheels

REPOSITORY = Path(__file__).parents[3]
BACKENDS = {
    "flusso-source-postgres": {("capture", "postgres"), ("builder", "postgres")},
    "flusso-source-polling": {("capture", "polling"), ("builder", "polling")},
    "flusso-sink-opensearch": {("sink", "opensearch")},
    "flusso-sink-stdout": {("sink", "stdout")},
}
OURS = ("flusso-core", "flusso-sandbox", *BACKENDS)
CORE = {("queue", "memory"), ("queue", "sqlite")}

SINK = """
from pydantic import BaseModel
from flusso_core.hookspecs import SinkPlugin, hookimpl

class Options(BaseModel):
    pass

@hookimpl
def flusso_sink():
    return SinkPlugin(name="{name}", options=Options, create=lambda context: None, api={api})
"""

SLOW = """
import pathlib, time
pathlib.Path({mark!r}).touch()
time.sleep(1)
"""

Install: TypeAlias = "Callable[..., Venv]"


class Venv:
    """A clean environment, and the command `flusso` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        uv("venv", "--quiet", str(folder))

    def install(self, *what: str, editable: Sequence[str] = ()) -> None:
        wheels = os.environ["FLUSSO_TEST_WHEELS"]
        constraint = os.environ.get("FLUSSO_TEST_CONSTRAINTS")
        uv(
            *("pip", "install", "--quiet", f"--python={self.folder}", f"--find-links={wheels}"),
            *((f"--constraint={constraint}",) if constraint else ()),
            # Else uv may take wheels of an earlier build from its cache: they have one version.
            *(f"--refresh-package={name}" for name in OURS),
            *what,
            *(part for path in editable for part in ("--editable", path)),
        )
        uv("pip", "check", f"--python={self.folder}")

    def run(
        self, *args: str, cwd: Path | None = None, program: str = "flusso"
    ) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FLUSSO_")}
        kept.pop("PYTHONPATH", None)
        return subprocess.run(
            [str(self.folder / "bin" / program), *args],
            cwd=cwd or self.folder,
            env=kept,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def listed(self) -> list[dict[str, Any]]:
        done = self.run("plugins", "list", "--format", "json")
        assert done.returncode == 0, done.stderr
        return [one for one in json.loads(done.stdout)["plugins"] if one["kind"] != "command"]

    def types(self) -> set[tuple[str, str]]:
        return {(one["kind"], one["type"]) for one in self.listed()}

    def checked(self) -> dict[str, str | None]:
        """What `flusso plugins check` says of each distribution's plugins, but the core's."""
        done = self.run("plugins", "check", "--format", "json")
        content = json.loads(done.stdout)
        assert (done.returncode == 0) is content["ok"]
        return {one["distribution"]: one["error"] for one in content["plugins"]}


def uv(*args: str) -> None:
    program = shutil.which("uv") or os.environ["UV"]
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"uv {args}\n{done.stderr}"


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """A clean environment with these distributions."""

    def make(*what: str, editable: Sequence[str] = ()) -> Venv:
        venv = Venv(tmp_path / "venv")
        venv.install(*what, editable=editable)
        return venv

    return make


def wheel(folder: Path, distribution: str, code: str, *, name: str, requires: str = "") -> str:
    """A wheel that consists of one module, which registers a sink."""
    module = distribution.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[flusso.sinks]\n{name} = {module}\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return str(path)


def test_the_core_alone_says_what_to_install(install: Install) -> None:
    venv = install("flusso-core")
    assert venv.types() == CORE
    (venv.folder / "users.schema.yml").write_text(
        "version: 1\ntable: users\nprimary_key: id\nfields:\n  - long: id\n"
    )
    (venv.folder / "flusso.toml").write_text(
        '[source]\ntype = "postgres"\n[[index]]\nname = "users"\nschema = "users.schema.yml"\n'
    )
    done = venv.run("check", "--offline")
    assert done.returncode == 4
    assert 'pip install "flusso-core[postgres]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_core_and_one_backend(install: Install, backend: str) -> None:
    """By its extra, as the messages say."""
    venv = install(f"flusso-core[{backend.rpartition('-')[2]}]")
    assert venv.types() == CORE | BACKENDS[backend]
    assert set(venv.checked().values()) == {None}
    assert all(one["in_range"] for one in venv.listed())


def test_everything_together_and_the_versions_of_all(install: Install) -> None:
    venv = install("flusso-core[postgres,polling,opensearch,stdout]", "flusso-sandbox")
    assert venv.types() == CORE.union(*BACKENDS.values())
    assert set(venv.checked().values()) == {None}
    versions = venv.run("--version").stdout.splitlines()
    assert {line.split()[0] for line in versions} == set(OURS)
    assert venv.run("demo", "--help").returncode == 0


def test_a_foreign_plugin_is_listed_shown_and_passes_its_tests(install: Install) -> None:
    """The example in `examples/plugins`, built and installed as anyone would."""
    venv = install(f"{REPOSITORY / 'examples/plugins/flusso-sink-sqlite'}[test]")
    assert venv.types() == {*CORE, ("sink", "sqlite")}
    assert "The file; it is created" in venv.run("plugins", "show", "sqlite").stdout
    tests = REPOSITORY / "examples/plugins/flusso-sink-sqlite/tests"
    config = tests.parent / "pyproject.toml"
    done = venv.run(
        *("-q", "-p", "no:cacheprovider", "-c", str(config), str(tests)), program="pytest"
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_odd_plugins_are_told_and_take_none_down(install: Install, tmp_path: Path) -> None:
    """Two that clash, one that raises, one for API 99, one for another core, one that is slow."""
    good = SINK.format(name="good", api=1)
    imported = tmp_path / "slow-was-imported"
    venv = install(
        "flusso-core[stdout]",
        wheel(tmp_path, "good-sink", good, name="good"),
        wheel(tmp_path, "one-sink", SINK.format(name="same", api=1), name="same"),
        wheel(tmp_path, "two-sink", SINK.format(name="same", api=1), name="same"),
        wheel(tmp_path, "raises-sink", "raise RuntimeError('kaputt')", name="raises"),
        wheel(tmp_path, "future-sink", SINK.format(name="future", api=99), name="future"),
        wheel(
            tmp_path,
            "slow-sink",
            SLOW.format(mark=str(imported)) + SINK.format(name="slow", api=1),
            name="slow",
        ),
    )
    sinks = sorted(one["type"] for one in venv.listed() if one["kind"] == "sink")
    assert sinks == ["future", "good", "raises", "same", "same", "slow", "stdout"]
    assert venv.run("--help").returncode == 0
    assert venv.run("plugins", "show", "good").returncode == 0
    assert not imported.exists()
    for name, words in (
        ("same", "one-sink 1.0 and two-sink 1.0"),
        ("raises", "raises-sink 1.0 cannot be used (raises_sink): RuntimeError: kaputt"),
        ("future", "future-sink 1.0 is made for plugin API 99"),
    ):
        done = venv.run("plugins", "show", name)
        assert done.returncode == 4
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    errors = venv.checked()
    assert imported.exists()
    assert {name for name, error in errors.items() if error is None} == {
        "flusso-core",
        "flusso-sink-stdout",
        "good-sink",
        "slow-sink",
    }


@pytest.mark.parametrize("kind", ["sink", "capture", "builder", "queue", "hooks"])
def test_a_new_plugin_passes_its_tests_from_the_first_commit(
    install: Install, tmp_path: Path, kind: str
) -> None:
    """`flusso plugins new`, `pip install -e .` with its tests' needs, `pytest`."""
    venv = install("flusso-core")
    done = venv.run("plugins", "new", kind, "my-own", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [project] = tmp_path.glob("*/pyproject.toml")
    package = project.parent
    again = venv.run("plugins", "new", kind, "my-own", cwd=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    venv.install(editable=[f"{package}[test]"])
    mine = [one for one in venv.listed() if one["type"] == "my-own"]
    assert [(one["kind"], one["origin"], one["in_range"]) for one in mine] == [
        (kind, "editable", True)
    ]
    assert venv.checked()[mine[0]["distribution"]] is None
    tested = venv.run("-q", cwd=package, program="pytest")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    uv("build", "--quiet", "--out-dir", str(tmp_path / "dist"), str(package))
    [built] = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
