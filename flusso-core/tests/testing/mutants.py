"""Mutants: backends that are wrong in one way, and how a check is run on one.

The conformance kit is worth what it catches. Each mutant names the check that is meant to catch
it; the tests run *every* check on it, and exactly the named ones may fail.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import getmembers, iscoroutinefunction
from typing import Any, TypeAlias

import pytest

from flusso_core.testing import run_in_virtual_time

Check: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong backend.

    Attributes:
        name: of its class.
        wrong: what it does.
        bench: makes a fresh bench of it.
        caught_by: the check that is there for this.
        also: checks that cannot but fail as well.
    """

    name: str
    wrong: str
    bench: Callable[[], object]
    caught_by: str
    also: frozenset[str] = field(default_factory=frozenset[str])


def checks(kit: type) -> Mapping[str, Check]:
    """Every check of a kit by its name, once for each of its parameters."""
    return dict(_checks(kit()))


def _checks(kit: object) -> Iterator[tuple[str, Check]]:
    for name, check in getmembers(kit, iscoroutinefunction):
        if not name.startswith("test_"):
            continue
        cases: list[tuple[list[str], dict[str, object]]] = [([], {})]
        for mark in getattr(check, "pytestmark", ()):
            if mark.name == "parametrize":
                parameter, values = mark.args
                cases = [
                    ([*texts, str(value)], {**given, parameter: value})
                    for texts, given in cases
                    for value in values
                ]
        for texts, given in cases:
            suffix = f"[{'-'.join(texts)}]" if texts else ""
            yield f"{name}{suffix}", partial(check, **given)


def failing(kit: type, make_bench: Callable[[], object]) -> set[str]:
    """The checks of the kit that fail; parameters are left out of their names."""
    return {
        name.split("[", 1)[0] for name, check in checks(kit).items() if _fails(check, make_bench)
    }


def _fails(check: Check, make_bench: Callable[[], object]) -> bool:
    try:
        run_in_virtual_time(check(make_bench()), seconds=1e6)
    except pytest.skip.Exception:
        return False
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  # a mutant may raise anything
        return True
    return False


def assert_caught(kit: type, mutant: Mutant) -> None:
    """Exactly the declared checks fail."""
    found, expected = failing(kit, mutant.bench), {mutant.caught_by, *mutant.also}
    if found != expected:
        pytest.fail(f"failed too: {found - expected}; passed: {expected - found}")
