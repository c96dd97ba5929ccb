"""New plugin packages from the templates in `templates/`.

A template is a folder of files whose names end in `.tmpl`; `$name` in them (`string.Template`) and
`__package__` in their names are replaced.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from flusso_core.cli.writing import refuse_existing, write_new
from flusso_core.plugins.discovery import Kind, core_version

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_SUFFIX = ".tmpl"


@dataclass(frozen=True, slots=True)
class _Template:
    """What a kind's packages are called and say of themselves, and what their tests need."""

    stem: str
    summary: str
    test_requires: tuple[str, ...] = ()


_TEMPLATES: Mapping[Kind, _Template] = {
    Kind.SINK: _Template("flusso-sink", "A sink for flusso: {name}."),
    Kind.CAPTURE: _Template(
        "flusso-source",
        "A change capture for flusso: {name}.",
        ("flusso-core[polling]",),  # its builder, for the conformance kit
    ),
    Kind.BUILDER: _Template(
        "flusso-builder",
        "A document builder for flusso: {name}.",
        ("flusso-core[polling]",),  # its capture, for the conformance kit
    ),
    Kind.QUEUE: _Template("flusso-queue", "A queue for flusso: {name}."),
    Kind.HOOKS: _Template("flusso-hooks", "Hooks for flusso: {name}."),
}

SCAFFOLDED = tuple(_TEMPLATES)
"""The kinds of plugins that there are templates for."""


def scaffold(kind: Kind, name: str, folder: Path) -> Sequence[Path]:
    """Write a package for a new plugin and return its files.

    Args:
        kind: what it provides.
        name: its `type` in the configuration.
        folder: where the package's folder, named as its distribution, goes.

    Raises:
        click.UsageError: the name cannot be a type.
        FlussoError: the package's folder is there already, or cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} cannot be a plugin's name: lower-case letters, digits, - and _ between them"
        )
    template = _TEMPLATES[kind]
    distribution = f"{template.stem}-{name}".replace("_", "-")
    values = {
        "type": name,
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "summary": template.summary.format(name=name),
        "group": kind.group,
        "requires": f"flusso-core{_range(core_version())}",
        "test_requires": ", ".join(
            f'"{requirement}"' for requirement in ("flusso-core[testing]", *template.test_requires)
        ),
        "year": str(dt.datetime.now(dt.UTC).year),
    }
    package = folder / distribution
    refuse_existing(package)
    root = resources.files("flusso_core.cli") / "templates"
    written: list[Path] = []
    for part in ("common", kind.value):
        for relative, text in _files(root / part, ""):
            path = package / relative.replace("__package__", values["package"])
            write_new(path, Template(text).substitute(values))
            written.append(path)
    return sorted(written)


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            yield f"{prefix}{name}", entry.read_text(encoding="utf-8")


def _range(version: str) -> str:
    """The versions of the core that keep what this one promises: `>=0.1,<0.2`."""
    major, minor, *_ = (int(part) for part in re.findall(r"\d+", version))
    return f">={major}.{minor},<{major}.{minor + 1}" if major == 0 else f">={major},<{major + 1}"
