"""Schema files that are none; the wrong ones are in the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from flusso_core.errors import ConfigError
from flusso_core.schema import load_schema, parse_schema


def test_a_file_that_is_missing_a_folder_or_not_utf8_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_bytes(b"version: 1\ntable: \xff\n")
    for path, message in (
        (tmp_path / "none.yml", f"{tmp_path}/none.yml: no such file"),
        (tmp_path, f"{tmp_path}: Is a directory"),
        (bad, f"{bad}:2:8: not UTF-8 text"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_schema(path, "x")
        assert str(caught.value) == message


def test_an_alias_within_bounds_is_what_it_stands_for() -> None:
    text = (
        "version: 1\ntable: t\nprimary_key: id\nfields:\n"
        "- belongs_to: a\n  table: users\n  fields: &user [keyword: email]\n"
        "- belongs_to: b\n  table: users\n  fields: *user\n"
    )
    first, second = parse_schema(text, "x", "x.yml").fields
    assert getattr(first, "fields", 1) == getattr(second, "fields", 2)
