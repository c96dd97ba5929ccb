"""How the conformance kit says what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flusso_core.testing.conformance import BrokenPromise, Impossible, exact_json
from flusso_core.testing.conformance.promise import Promise


def test_a_class_without_a_bench_errs(tmp_path: Path) -> None:
    """No read-back, no pass: an error, not a skip."""
    (tmp_path / "test_without.py").write_text(
        "from flusso_core.testing.conformance import SinkBench, SinkConformance\n"
        "import pytest\n"
        "class TestNothing(SinkConformance): ...\n"
        "class HalfBench(SinkBench):\n"
        "    def sink(self): ...\n"
        "class TestHalf(SinkConformance):\n"
        "    @pytest.fixture\n"
        "    def bench(self): return HalfBench()\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_without.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "has no fixture `bench` that returns a SinkBench" in done.stdout
    assert re.search(r"Can't instantiate abstract class HalfBench .*stored", done.stdout)
    assert re.search(r"\d+ errors", done.stdout)
    assert " passed" not in done.stdout
    assert " skipped" not in done.stdout


async def test_a_broken_promise_says_what_was_promised_and_seen_and_where_to_read() -> None:
    promise = Promise("water is wet", "write-a-sea.md")
    with pytest.raises(BrokenPromise) as caught:
        promise.same({"1": "dry", "3": "wet"}, {"1": "wet", "2": "wet"}, "after rain")
    assert str(caught.value) == (
        "broken promise: water is wet\n"
        "  seen: after rain: 1 missing: ['2']; 1 too many: ['3']; '1' is 'dry' instead of 'wet'\n"
        "  read: docs/how-to/write-a-sea.md"
    )


def test_nothing_is_impossible_without_a_reason() -> None:
    with pytest.raises(ValueError, match="say why"):
        Impossible(" ")


def test_exact_json_tells_numbers_apart_that_are_equal() -> None:
    assert exact_json("[0.10]") != exact_json("[0.1]")
    assert exact_json("[9007199254740993]") != exact_json("[9007199254740992]")
    assert exact_json("[1]") != exact_json('["1"]')
    assert exact_json('{"a":[1.0,"x"]}') == exact_json(b'{ "a": [1.0, "x"] }')
