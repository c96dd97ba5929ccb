"""`flusso schema` prints what editors need."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from flusso_core.cli.app import app
from flusso_core.errors import PluginFailed
from flusso_core.plugins import Kind, PluginLoader
from flusso_core.schema.json_schema import index_json_schema


def test_the_schema_of_an_index_is_printed() -> None:
    done = CliRunner().invoke(app, ["schema", "index"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == index_json_schema()


def test_a_plugin_that_cannot_be_loaded_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = PluginLoader.configured

    def configured(self: PluginLoader, kind: Kind, name: str) -> object:
        if kind is Kind.QUEUE:
            raise PluginFailed("the queue 'memory' cannot be used: kaputt")
        return real(self, kind, name)

    whole = json.loads(CliRunner().invoke(app, ["schema", "config"]).stdout)
    assert "capacity" in whole["$defs"]["Queue"]["oneOf"][0]["properties"]
    monkeypatch.setattr(PluginLoader, "configured", configured)
    done = CliRunner().invoke(app, ["schema", "config"])
    assert done.exit_code == 0, done.output
    assert "left out: the queue 'memory' cannot be used: kaputt" in done.stderr
    assert "memory" not in json.dumps(json.loads(done.stdout)["$defs"]["Queue"]["oneOf"][:-1])
