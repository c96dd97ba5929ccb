"""Other programs, as they are named on the command line, and the worlds that programs get."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.programs import Flusso, Peer, Place, Running
from benchmarks.searches import nested_paths
from benchmarks.worlds import NAMES, Sizes, world
from flusso_core.config import load_deployment

SMALL = Sizes.of(100)


def place(folder: Path) -> Place:
    return Place("postgresql://u@h/d", "http://h:9200", folder, "run1")


def test_a_peer_gets_its_words_with_the_values_in_their_places(tmp_path: Path) -> None:
    peer = Peer.parse("mine=sync --from {postgres} --index={index} 'two words' {folder}")
    assert peer.name == "mine"
    assert peer.command(world("shop", SMALL), place(tmp_path)) == [
        *("sync", "--from", "postgresql://u@h/d", "--index=run1_peer", "two words", str(tmp_path))
    ]


@pytest.mark.parametrize(
    "text", ["sync {postgres}", "=sync", "mine=", "mine=sync {database}", "mine=sync 'open"]
)
def test_what_is_no_peer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=COMMAND|in braces"):
        Peer.parse(text)


def test_a_peer_is_measured_on_the_shop_alone() -> None:
    assert [name for name in NAMES if Peer("p", "c").runs(world(name, SMALL))] == ["shop"]


@pytest.mark.parametrize("name", NAMES)
def test_flusso_gets_a_deployment_that_loads(name: str, tmp_path: Path) -> None:
    here = world(name, SMALL)
    command = Flusso(Path("flusso")).command(here, place(tmp_path))
    assert command == ["flusso", "run"]
    deployment = load_deployment(tmp_path / "flusso.toml")
    assert {index.name for index in deployment.indexes} == set(here.schemas)


def test_the_other_worlds_follow_from_the_number_of_users() -> None:
    assert (Sizes.of(50_000).fan_out, Sizes.of(5_000).fan_out, Sizes.of(1).fan_out) == (
        *(100_000, 10_000, 20),
    )


def test_a_program_that_ends_while_it_is_waited_for_is_told_with_its_last_words(
    tmp_path: Path,
) -> None:
    peer = Peer("mine", f"{sys.executable} -c \"print('out of cheese')\"")
    with (
        Running(peer, world("shop", SMALL), place(tmp_path)) as running,
        pytest.raises(RuntimeError, match=r"(?s)ended with 0 before it is filled.*out of cheese"),
    ):
        running.wait_until(lambda: False, "it is filled")


def test_paths_that_need_nested_queries_are_found_at_any_depth() -> None:
    below = {"type": "nested", "properties": {"c": {"type": "nested"}, "d": {"type": "long"}}}
    mapping = {"properties": {"a": {"properties": {"b": below}}, "e": {"type": "keyword"}}}
    assert nested_paths(mapping) == ["a.b", "a.b.c"]
