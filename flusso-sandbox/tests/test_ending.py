"""Signals that the demo asks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from flusso_sandbox.demo.ending import Ending

SECOND_SIGNAL = """
import os, signal
from flusso_sandbox.demo.ending import Ending

with Ending().signals():
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never")
"""


def test_a_signal_strikes_only_where_it_is_asked_for() -> None:
    ending, cut = Ending(), list[str]()
    with ending.signals():
        ending.check()
        with ending.cutting_short(lambda: cut.append("short")):
            os.kill(os.getpid(), signal.SIGTERM)
        assert ending.received == signal.SIGTERM
        assert cut == ["short"]
        with pytest.raises(SystemExit, match="143"):
            ending.check()


def fail(*, signalled: bool) -> None:
    with Ending().signals():
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("a statement was cut short")


def test_what_fails_after_a_signal_is_the_signals_doing() -> None:
    with pytest.raises(SystemExit, match="143"):
        fail(signalled=True)
    with pytest.raises(ValueError, match="cut short"):
        fail(signalled=False)


def test_a_second_signal_ends_the_process_at_once() -> None:
    python = [sys.executable, "-c", SECOND_SIGNAL]
    process = subprocess.run(python, capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stdout) == (130, "goes on\n")
