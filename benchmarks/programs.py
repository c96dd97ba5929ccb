"""Programs that keep indexes in step: flusso of some environment, or any other command."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from benchmarks.searches import wait_until
from benchmarks.usage import cpu_seconds
from benchmarks.worlds import World

STOP_SECONDS = 60.0

FLUSSO_TOML = """
prefix = "{prefix}"

[source]
type = "postgres"
connection_url = {{ env = "DATABASE_URL" }}
slot = "{slot}"
publication = "{slot}"

[sinks.search]
type = "opensearch"
url = {{ env = "OPENSEARCH_URL" }}
number_of_replicas = 0
"""

INDEX_TOML = """
[[index]]
name = "{name}"
schema = "{name}.schema.yml"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session's program works.

    Attributes:
        database: URL of the world's database.
        opensearch: URL of the cluster.
        folder: of its own.
        run: a word that no other session has, for names at the servers.
    """

    database: str
    opensearch: str
    folder: Path
    run: str


class Program(Protocol):
    """Something that can be started on a world."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def indexes(self, world: World, place: Place) -> Sequence[str]:
        """Names by which its documents are searched."""
        ...

    def runs(self, world: World) -> bool:
        """Whether it is measured on that world."""
        ...

    def command(self, world: World, place: Place) -> Sequence[str]:
        """What to start, after files that it needs were written to the place's folder."""
        ...


@dataclass(frozen=True, slots=True)
class Flusso:
    """`flusso run` of one environment.

    Attributes:
        executable: the command of that environment.
        name: for people.
        arguments: further ones of `flusso run`.
        wrapper: a command that runs the one after it, such as a profiler.
    """

    executable: Path
    name: str = "flusso"
    arguments: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()

    def indexes(self, world: World, place: Place) -> Sequence[str]:
        """The aliases, with a prefix of the session."""
        return [f"{place.run}_{name}" for name in world.schemas]

    def runs(self, world: World) -> bool:
        """On every one."""
        del world
        return True

    def command(self, world: World, place: Place) -> Sequence[str]:
        """Write its deployment, and start it there."""
        text = FLUSSO_TOML.format(prefix=f"{place.run}_", slot=place.run)
        for name, schema in world.schemas.items():
            (place.folder / f"{name}.schema.yml").write_text(schema, encoding="utf-8")
            text += INDEX_TOML.format(name=name)
        (place.folder / "flusso.toml").write_text(text, encoding="utf-8")
        return [*self.wrapper, str(self.executable), "run", *self.arguments]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program that can sync the shop.

    Attributes:
        name: for people.
        template: its command; `{postgres}` and `{opensearch}` become URLs, `{index}` the name of
            the index or alias that it fills, `{folder}` an empty folder for its files.
    """

    name: str
    template: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Read `NAME=COMMAND`.

        Raises:
            ValueError: there is no name or no command, or a word in braces that means nothing.
        """
        name, separator, template = text.partition("=")
        if not (name.strip() and separator and template.strip()):
            raise ValueError(f"expected NAME=COMMAND, not {text!r}")
        peer = cls(name.strip(), template.strip())
        try:
            peer.arguments(dict.fromkeys(("postgres", "opensearch", "index", "folder"), "x"))
        except (KeyError, IndexError, ValueError) as error:
            message = f"{peer.name}: the command knows {{postgres}}, {{opensearch}}, {{index}} and "
            raise ValueError(f"{message}{{folder}}, and nothing else in braces: {error}") from error
        return peer

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command's words, with the values in their places."""
        return [word.format(**values) for word in shlex.split(self.template)]

    def indexes(self, world: World, place: Place) -> Sequence[str]:
        """The one index that it is told to fill."""
        del world
        return [f"{place.run}_peer"]

    def runs(self, world: World) -> bool:
        """It is told of no schema, so it can know the shop alone."""
        return world.name == "shop"

    def command(self, world: World, place: Place) -> Sequence[str]:
        """The template, filled in."""
        (index,) = self.indexes(world, place)
        values = {
            "postgres": place.database,
            "opensearch": place.opensearch,
            "index": index,
            "folder": str(place.folder),
        }
        return self.arguments(values)


@dataclass(frozen=True, slots=True)
class Line:
    """What a program has said.

    Attributes:
        text: the line.
        at: when, in seconds of the monotonic clock.
        cpu: seconds of CPU that the program had used by then.
    """

    text: str
    at: float
    cpu: float


class Running:
    """A program at work; a context manager that stops it at the end.

    Args:
        program: what to start.
        world: on what.
        place: where.
    """

    def __init__(self, program: Program, world: World, place: Place) -> None:
        command = program.command(world, place)
        inherited = {name: text for name, text in os.environ.items() if name[:7] != "FLUSSO_"}
        self.began = time.monotonic()
        self._name = program.name
        self._lines: list[Line] = []
        self._process = subprocess.Popen(
            command,
            cwd=place.folder,
            env={
                **inherited,
                "DATABASE_URL": place.database,
                "OPENSEARCH_URL": place.opensearch,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name="output", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "\n".join(line.text for line in self._lines)

    def said(self, words: str) -> Line | None:
        """The first line with these words."""
        return next((line for line in self._lines if words in line.text), None)

    def wait_until(self, condition: Callable[[], bool], what: str, *, every: float = 0.01) -> None:
        """Return when the condition holds.

        Raises:
            RuntimeError: the program ended before.
            TimeoutError: it does not hold within the bound.
        """

        def holds() -> bool:
            if condition():
                return True
            if self._process.poll() is not None:
                message = f"{self._name} ended with {self._process.returncode} before {what}"
                raise RuntimeError(f"{message}:\n{self.output[-3000:]}")
            return False

        wait_until(holds, what, every=every)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        code = self._process.wait()
        self._listener.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                self._lines.append(Line(text, time.monotonic(), cpu_seconds(self.pid) or 0.0))
