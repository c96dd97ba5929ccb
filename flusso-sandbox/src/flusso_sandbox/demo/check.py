"""Checks every document of an index against the SQL that says what it must be."""

from __future__ import annotations

from collections.abc import Callable

from flusso_sandbox.compare import Comparison, compare
from flusso_sandbox.demo.oracle import Oracle
from flusso_sandbox.demo.target import Target


def check_index(
    oracle: Oracle, target: Target, index: str, go_on: Callable[[], None]
) -> Comparison:
    """Compare an index with what it must hold, some documents at a time.

    Args:
        oracle: says what it must hold.
        target: where it is seen.
        index: its name.
        go_on: raises when the demo has to end.
    """
    checked = 0
    missing: list[str] = []
    different: dict[str, tuple[str, ...]] = {}
    expected_ids: set[str] = set()
    for expected in oracle.pages(index):
        go_on()
        page = compare(expected, target.documents(index, list(expected)))
        checked += page.checked
        missing += page.missing
        different.update(page.different)
        expected_ids.update(expected)
    extra: set[str] = set()
    if target.count(index) != checked - len(missing):
        extra = set(target.ids(index)) - expected_ids
    return Comparison(checked, tuple(missing), tuple(sorted(extra)), different)
