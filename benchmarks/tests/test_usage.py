"""What processes use."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.usage import Cpu, MemoryWatch, cpu_seconds


def test_children_that_have_ended_count() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    after = cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before > 0.05


def test_a_process_that_is_gone_uses_nothing_and_one_elsewhere_is_unknown() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert cpu_seconds(process.pid) == 0.0
    assert cpu_seconds(None) is None


def test_a_share_is_of_all_three() -> None:
    assert (Cpu(2.0, 4.0, 5.0) - Cpu(1.0, 1.0, 0.0)).share == 1 / 9
    assert (Cpu(2.0, None, 5.0) - Cpu(1.0, None, 0.0)).share is None


def test_a_peak_is_remembered_after_the_process_has_ended() -> None:
    code = "import sys; block = bytearray(60 << 20); print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with MemoryWatch(process.pid) as watch:
        process.communicate()
    assert watch.peak > 60 << 20
    assert watch.points[0].bytes > 60 << 20
