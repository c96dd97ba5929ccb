"""A whole run of the benchmarks, as small as can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.worlds import NAMES

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.soak
@pytest.mark.integration
def test_a_small_run_measures_every_world_and_writes_everything(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--users", "300", "--rounds", "1", "--seconds", "1", "--samples", "5")
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", *options),
            *("--rates", "20", "--json", str(figures), "--plots", str(tmp_path)),
        ],
        cwd=ROOT,
        check=True,
        timeout=1500,
    )
    told = json.loads(figures.read_text(encoding="utf-8"))
    assert {one["world"] for one in told["measurements"]} == set(NAMES)
    assert all(one["to_floor"] > 0 for one in told["measurements"])
    assert all(one["writes_per_document"] >= 1 for one in told["measurements"])
    assert [one["rate"] for one in told["latencies"]] == [0, 20]
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        *("throughput.svg", "latency.svg", "memory.svg")
    }
