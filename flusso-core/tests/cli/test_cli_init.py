"""`flusso init` over a backend in memory; `tests/test_first_deployment.py` has the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flusso_core.cli import ExitCode

if TYPE_CHECKING:
    from .conftest import Place

NEW = ("--config", "new/flusso.toml", "--source-type", "fake", "--sink-type", "plain")


def test_a_sink_gets_what_it_cannot_do_without(place: Place) -> None:
    """What may be a secret by a variable, anything else for the reader to fill in."""
    done = place.run("init", "public.parents", *NEW)
    assert done.returncode == ExitCode.OK, done.stderr
    text = (place.folder / "new/flusso.toml").read_text()
    assert (
        '[sinks.target]\ntype = "plain"\n# file = (required) Where lines go.\n'
        'token = { env = "PLAIN_TOKEN" }\n'
    ) in text
    assert (place.folder / "new/parents.schema.yml").exists()


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (("parents",), ExitCode.USAGE, "write public.parents or old.parents"),
        (("public.parent",), ExitCode.USAGE, "Did you mean public.parents?"),
        (("public.parents", "--sink-type", "nowhere"), ExitCode.PLUGIN, "no sink 'nowhere'"),
    ],
)
def test_what_is_not_clear_is_told_and_nothing_is_written(
    place: Place, args: tuple[str, ...], code: ExitCode, complaint: str
) -> None:
    done = place.run("init", *NEW, *args)
    assert done.returncode == code
    assert complaint in " ".join(done.stderr.split())
    assert not (place.folder / "new").exists()


def test_a_source_that_cannot_be_read_is_told(place: Place) -> None:
    path = place.folder / "site" / "fake_backend.py"
    path.write_text(path.read_text().replace(", introspect=_introspect", ""))
    done = place.run("init", "public.parents", *NEW)
    assert done.returncode == ExitCode.PLUGIN
    assert "the builder 'fake' cannot read a catalogue" in done.stderr
