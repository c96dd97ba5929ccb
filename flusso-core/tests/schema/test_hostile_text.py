"""Texts that are made to cost much cost little: each is refused, or read, within bounds."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest

from flusso_core.config.loading import lower_deployment
from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, parse_toml, parse_yaml
from flusso_core.schema import parse_schema

MEBIBYTE = 1024 * 1024
SECONDS = 30.0
"""Of processor time: none takes a tenth of it on a machine that does nothing else."""

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20)
)

YAML: dict[str, tuple[str, str]] = {
    "aliases of aliases": (LAUGHS, "too many values"),
    "an alias of what it stands in": ("a: &a [*a]", "too many levels"),
    "brackets": ("a: " + "[" * 500_000, "maximum depth"),
    "block lists in each other": ("- " * 500_000, "maximum depth"),
    "complex keys in each other": ("? " * 500_000, "maximum depth"),
    "keys": ("".join(f"k{n}: 1\n" for n in range(60_000)), "too many values"),
    "elements": ("a: [" + "1," * 500_000 + "]", "too many values"),
    "one long text": ("version: " + "x" * 1_000_000, "expected 1"),
    "one long name": ("table: " + "x" * 1_000_000, "63 bytes"),
    "escapes": ('version: "' + "\\u0041" * 160_000 + '"', "expected 1"),
    "lines of a text": ("version: |\n" + "  x\n" * 250_000, "expected 1"),
    "comments": ("#x\n" * 340_000, "the file is empty"),
    "bytes": ("#" * 2 * MEBIBYTE, "too long"),
    "digits": ("version: " + "9" * 100_000, "expected 1"),
}

TOML: dict[str, tuple[str, str]] = {
    "brackets": ("a = " + "[" * 500_000, "too many levels"),
    "parts of a key": ("a." * 500_000 + "b = 1", "too many levels"),
    "parts of a table's name": ("[" + "a." * 500_000 + "b]", "too many levels"),
    "keys": ("".join(f"k{n}=1\n" for n in range(100_000)), "too many values"),
    "elements": ("a = [" + "1," * 500_000 + "]", "too many values"),
    "tables": ("[[a]]\n" * 170_000, "too many values"),
    "deep keys": ("".join("a." * 40 + f"k{n}=1\n" for n in range(5_000)), "unknown key"),
    "a text without an end": ('a = ["' + "x" * 1_000_000, "not valid TOML"),
    "bytes": ("#" * 2 * MEBIBYTE, "too long"),
    "digits": ("a = " + "9" * 100_000, "a number is too long"),
}


def refuse(read: Callable[[], object], words: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match=words) as caught:
        read()
    assert time.process_time() - start < SECONDS
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(("text", "words"), YAML.values(), ids=YAML.keys())
def test_a_hostile_schema_is_refused_in_time(text: str, words: str) -> None:
    refuse(lambda: parse_schema(text, "x", "x.yml"), words)


@pytest.mark.parametrize(("text", "words"), TOML.values(), ids=TOML.keys())
def test_a_hostile_configuration_is_refused_in_time(text: str, words: str) -> None:
    def schema(name: str) -> ParsedFile:
        raise AssertionError(name)

    refuse(lambda: lower_deployment(parse_toml(text, "x.toml"), schema), words)


@pytest.mark.parametrize("text", ["a: [" + "1," * 60_000 + "]", LAUGHS], ids=["list", "laughs"])
def test_a_hostile_file_fills_no_memory(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError):
            parse_yaml(text, "x.yml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 256 * MEBIBYTE
