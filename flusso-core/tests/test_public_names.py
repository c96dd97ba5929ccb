"""What `flusso_core` itself exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flusso_core
from flusso_core.model import document_id_text


@pytest.mark.parametrize("name", flusso_core.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in (getattr(getattr(flusso_core, name), "__name__", name), "hookimpl")


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse(Path(flusso_core.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flusso_core")
        for alias in node.names
    }
    assert imported == set(flusso_core.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"flusso_core.*nothing"):
        getattr(flusso_core, "nothing")  # noqa: B009  # type checkers know that it is not there


def test_importing_it_imports_no_library() -> None:
    code = "import flusso_core, sys; print([m for m in ('pydantic', 'pluggy') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("1",), "1"),
        (("",), "~"),
        (("~",), "~~"),
        (("~1",), "~~1"),
        (("a:b", "c"), '["a:b","c"]'),
        (("é" * 256,), "é" * 256),
        (("é" * 257,), "~sha256:"),
    ],
    ids=["plain", "empty", "tilde", "leading tilde", "composite", "512 bytes", "longer"],
)
def test_a_document_id_is_its_keys_text(key: tuple[str, ...], text: str) -> None:
    """V3."""
    found = document_id_text(key)
    if text.startswith("~sha256:"):
        assert len(found) == len("~sha256:") + 64
        assert found != document_id_text((key[0] + "é",))
    else:
        assert found == text


def test_different_keys_have_different_ids() -> None:
    """V3."""
    keys = [("",), ("~",), ("~~",), ('["a"]',), ("a",), ("a", ""), ("", "a"), ("a,b",), ("a", "b")]
    assert len({document_id_text(key) for key in keys}) == len(keys)
