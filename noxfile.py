"""Every check of the workspace. `make test` runs the default sessions; `nox --list` names all.

Each session gets an environment of its own with exactly the versions of `uv.lock`. Pytest ends
with an error where it collects nothing, so a package that loses its tests fails its session; each
run also leaves a JUnit report in `.nox/reports`, from which `tools/tally.py` prints the sum.
"""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
REPORTS = ROOT / ".nox" / "reports"

PACKAGES = (
    "flusso-core",
    "flusso-source-postgres",
    "flusso-source-polling",
    "flusso-sink-opensearch",
    "flusso-sink-stdout",
    "flusso-sandbox",
)
# Folders that hold tests against real servers; one of them without such tests is an error.
INTEGRATION = (
    "flusso-source-postgres/tests",
    "flusso-source-polling/tests",
    "flusso-sink-opensearch/tests",
    "flusso-sandbox/tests",
    "tests",
)
# Beside the newest of each, on which `integration` runs: the oldest as a whole, and between them
# what differs from version to version (the random worlds hold documents on each).
CAPTURE = ("flusso-source-postgres/tests/capture", "flusso-source-postgres/tests/oracle")
OTHER_VERSIONS = (
    ("FLUSSO_TEST_POSTGRES_VERSION", "17", CAPTURE),
    ("FLUSSO_TEST_POSTGRES_VERSION", "16", CAPTURE),
    ("FLUSSO_TEST_POSTGRES_VERSION", "15", ("flusso-source-postgres/tests",)),
    ("FLUSSO_TEST_OPENSEARCH_VERSION", "2.19.1", ("flusso-sink-opensearch/tests",)),
)

# Each worker starts servers of its own, an OpenSearch of 900 MB among them, and gets stretches of
# tests that follow each other: a module with further servers starts them in one worker, as a rule.
WORKERS = ("-n2", "--dist=worksteal")
# Where tests that need no server are many, or wait for processes of their own.
UNIT_WORKERS = {"flusso-core": "-n2"}

TEST_GROUP = f"--group={ROOT / 'pyproject.toml'}:test"
NOTHING_COLLECTED = 5
UNIT = "not integration and not soak and not wheels"

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "docs", "wheels", "integration", "versions"]
nox.options.error_on_external_run = True


def sync(session: nox.Session, group: str) -> None:
    """Install every package with its extras and one dependency group, as locked."""
    session.run_install(
        "uv",
        "sync",
        "--locked",
        "--all-packages",
        "--all-extras",
        "--no-default-groups",
        f"--group={group}",
        "--quiet",
        f"--python={session.virtualenv.location}",
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
        external=True,
    )


def run_pytest(
    session: nox.Session,
    report: str,
    *args: str,
    python: Path | str = "python",
    env: dict[str, str] | None = None,
    success_codes: Sequence[int] = (0,),
) -> None:
    """Run pytest and leave a report for the tally; `env` is added to the environment."""
    session.run(
        str(python),
        "-m",
        "pytest",
        f"--junitxml={REPORTS / session.name / report}.xml",
        *args,
        *session.posargs,
        env=env,
        external=python != "python",  # of an environment that the session made itself
        success_codes=success_codes,
    )


def start_reports(session: nox.Session) -> None:
    """Forget what an earlier run of this session reported."""
    shutil.rmtree(REPORTS / session.name, ignore_errors=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, imports between and inside the packages, spelling, dependencies."""
    sync(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")
    session.run("codespell")
    session.run("python", "tools/dependencies.py")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright, both strict, sources and tests."""
    sync(session, "types")
    # A run a package: their test modules may share names.
    for package in PACKAGES:
        session.run("mypy", f"{package}/src", f"{package}/tests")
    session.run("mypy", "noxfile.py", "tools", *existing("tests", "benchmarks"))
    for example in sorted(ROOT.glob("examples/plugins/*")):
        folders = (str(example / "src"), str(example / "tests"))
        session.run("mypy", *folders, env={"MYPYPATH": folders[0]})
    session.run("pyright", f"--pythonpath={session.bin}/python")


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests that need no server, on the sources; `wheels` runs them on what ships."""
    sync(session, "test")
    start_reports(session)
    for package in PACKAGES:
        workers = UNIT_WORKERS.get(package, "-n0")
        run_pytest(session, package, workers, "-m", UNIT, f"{package}/tests")
    run_pytest(session, "benchmarks", "-m", UNIT, "benchmarks/tests")
    # Across packages most tests need servers; there may be none that do not.
    run_pytest(session, "tests", "-m", UNIT, "tests", success_codes=(0, NOTHING_COLLECTED))


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests on real servers, which they start themselves."""
    sync(session, "test")
    start_reports(session)
    failed: list[str] = []
    for report, workers, which in (("beside", WORKERS, "not alone"), ("alone", ("-n0",), "alone")):
        marks = f"integration and not soak and {which}"
        try:
            run_pytest(session, report, *workers, "-m", marks, *INTEGRATION)
        except CommandFailed:  # what the others would say is worth the minutes
            failed.append(report)
    if failed:
        session.error(f"tests failed; the reports are {', '.join(failed)}")
    ran = (REPORTS / session.name / "beside.xml").read_text(encoding="utf-8")
    for folder in INTEGRATION:
        if f'classname="{folder.replace("/", ".")}.' not in ran:
            session.error(f"{folder} has lost its tests against real servers")


@nox.session
def versions(session: nox.Session) -> None:
    """Run the backends' tests on the other server versions that are supported."""
    sync(session, "test")
    start_reports(session)
    for variable, version, folders in OTHER_VERSIONS:
        package = folders[0].split("/", 1)[0]
        run_pytest(
            session,
            f"{package}-{version}",
            *WORKERS,
            "-m",
            "integration and not soak",
            *folders,
            env={variable: version},
        )


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes minutes: giants, faults for a long time, large numbers of examples."""
    sync(session, "bench")
    start_reports(session)
    folders = [*(f"{package}/tests" for package in PACKAGES), "tests", "benchmarks/tests"]
    run_pytest(session, "soak", "-m", "soak", "--timeout=3600", *folders)


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples in the documentation, the READMEs and the docstrings."""
    sync(session, "test")
    start_reports(session)
    run_pytest(
        session,
        "docs",
        "-p",
        "tools.examples",
        "-p",
        "no:randomly",
        "README.md",
        "CONTRIBUTING.md",
        "docs",
        *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("examples/**/README.md"))),
        *(f"{package}/README.md" for package in PACKAGES),
        *(f"{package}/src" for package in PACKAGES),
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; see benchmarks/README.md for what and how."""
    sync(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every distribution; run the tests that need no server on the wheels, each alone."""
    start_reports(session)
    work = ROOT / ".nox" / "wheels-work"
    shutil.rmtree(work, ignore_errors=True)
    dist = work / "dist"
    uv(session, "build", "--all-packages", "--quiet", f"--out-dir={dist}")
    constraints = work / "constraints.txt"
    uv(
        session,
        "export",
        "--locked",
        "--all-packages",
        "--all-extras",
        "--all-groups",
        "--no-emit-workspace",
        "--no-hashes",
        "--quiet",
        f"--output-file={constraints}",
    )
    for package in PACKAGES:
        inspect_wheel(session, package, wheel_of(dist, package))
        use_wheel_alone(session, package, dist, constraints, work / package)
    use_wheels_together(session, dist, constraints, work / "together")
    run_pytest(
        session,
        "installed",
        "-n2",
        "-m",
        "wheels",
        "flusso-core/tests/installed",
        python=work / "flusso-core" / "bin" / "python",
        env={"FLUSSO_TEST_WHEELS": str(dist), "FLUSSO_TEST_CONSTRAINTS": str(constraints)},
    )


def use_wheel_alone(
    session: nox.Session, package: str, dist: Path, constraints: Path, venv: Path
) -> None:
    """Install one wheel with what it requires and nothing else; look at it; run its unit tests."""
    python = venv / "bin" / "python"
    install = ("pip", "install", "--quiet", f"--python={python}", f"--constraint={constraints}")
    uv(session, "venv", "--quiet", f"--python={session.virtualenv.location}", str(venv))
    uv(session, *install, *(str(wheel_of(dist, name)) for name in required_members(package)))
    uv(session, "pip", "check", f"--python={python}")
    name = import_name(package)
    own = f"import sys, {name} as it; sys.exit(not it.__file__.startswith(sys.prefix))"
    session.run(str(python), "-I", "-c", own, external=True)
    listing = session.run(
        str(venv / "bin" / "flusso"),
        "plugins",
        "list",
        "--format",
        "json",
        silent=True,
        external=True,
    )
    for backend in registered_backends(package):
        if f'"{backend}"' not in str(listing):
            session.error(f"`flusso plugins list` does not show {backend} of {package}: {listing}")
    uv(session, *install, TEST_GROUP)
    run_pytest(
        session,
        package,
        UNIT_WORKERS.get(package, "-n0"),
        "-m",
        UNIT,
        *(f"--ignore={path}" for path in modules_for_servers(package)),
        f"{package}/tests",
        python=python,
    )


def use_wheels_together(session: nox.Session, dist: Path, constraints: Path, venv: Path) -> None:
    """Install every wheel with its extras; run the unit tests that take more than one of them."""
    python = venv / "bin" / "python"
    wheels = [f"{wheel_of(dist, name)}[{','.join(extras(name))}]" for name in PACKAGES]
    uv(session, "venv", "--quiet", f"--python={session.virtualenv.location}", str(venv))
    uv(
        session,
        "pip",
        "install",
        "--quiet",
        f"--python={python}",
        f"--constraint={constraints}",
        *wheels,
        TEST_GROUP,
    )
    run_pytest(
        session,
        "together",
        "-m",
        UNIT,
        *(path for package in PACKAGES for path in modules_for_servers(package)),
        "benchmarks/tests",
        "tests",
        python=python,
    )


def modules_for_servers(package: str) -> list[str]:
    """Test modules that import flusso-sandbox, which is not there beside another wheel alone."""
    if package == "flusso-sandbox":
        return []
    return [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / package / "tests").rglob("*.py"))
        if re.search(r"^(from|import) flusso_sandbox\b", path.read_text("utf-8"), re.MULTILINE)
    ]


def inspect_wheel(session: nox.Session, package: str, wheel: Path) -> None:
    """Fail if a wheel lacks its type marker or licence, or carries anything beside its package."""
    names = zipfile.ZipFile(wheel).namelist()
    top = import_name(package)
    if f"{top}/py.typed" not in names:
        session.error(f"{wheel.name} has no py.typed")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        session.error(f"{wheel.name} has no licence")
    strays = [name for name in names if not name.startswith((f"{top}/", f"{top}-"))]
    if strays:
        session.error(f"{wheel.name} carries {strays}")


def uv(session: nox.Session, *args: str) -> None:
    """Run uv outside of the session's environment."""
    session.run_install("uv", *args, external=True)


def wheel_of(dist: Path, package: str) -> Path:
    """The one wheel that was built of a package."""
    (wheel,) = dist.glob(f"{import_name(package)}-*.whl")
    return wheel


def import_name(package: str) -> str:
    """The import name of a distribution."""
    return package.replace("-", "_")


def project(package: str) -> dict[str, Any]:
    """The project table of a package's metadata."""
    metadata = tomllib.loads((ROOT / package / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(metadata["project"])


def registered_backends(package: str) -> set[str]:
    """The names under which a package registers backends; commands are no backends."""
    groups: dict[str, dict[str, str]] = project(package).get("entry-points", {})
    return {
        name
        for group, entries in groups.items()
        if group.startswith("flusso.") and group != "flusso.commands"
        for name in entries
    }


def required_members(package: str) -> list[str]:
    """A package and the members of the workspace that it requires, extras included."""
    found: dict[str, None] = {}
    todo: list[tuple[str, set[str]]] = [(package, set())]
    while todo:
        name, extras = todo.pop()
        found[name] = None
        metadata = project(name)
        lines = list(metadata["dependencies"])
        for extra in extras:
            lines += metadata["optional-dependencies"][extra]
        members = [each for each in map(Requirement, lines) if each.name in PACKAGES]
        todo.extend(
            (each.name, set(each.extras))
            for each in members
            if each.extras or each.name not in found
        )
    return list(found)


def extras(package: str) -> list[str]:
    """The names of a package's extras."""
    return list(project(package).get("optional-dependencies", {}))


def existing(*folders: str) -> list[str]:
    """Those of the folders that exist."""
    return [folder for folder in folders if (ROOT / folder).is_dir()]
