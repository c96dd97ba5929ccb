"""Which stage a sample belongs to."""

from __future__ import annotations

from benchmarks.profiling import LOOP, OUTSIDE, RATE, STARTING, Profile, read, text

CORE = "run (flusso_core/engine/flights.py:10)"
BUILDER = "_build (flusso_source_postgres/builder.py:20)"
STREAM = "feed (flusso_source_postgres/assembler.py:5)"
DRIVER = "execute (psycopg/cursor.py:30)"


def test_a_sample_belongs_to_the_innermost_frame_of_ours() -> None:
    profile = read(
        [
            f"<module> (flusso:8);{CORE};{BUILDER};{DRIVER} 3",
            f"{CORE};{STREAM} 2",
            f"{CORE};wait (asyncio/locks.py:1) 1",
        ]
    )
    assert profile.stages == {
        "reading keys and documents (psycopg included)": 3,
        "reading the change stream": 2,
        "ledger and engine": 1,
    }
    assert profile.functions["`execute (psycopg/cursor.py)`"] == 3


def test_an_import_is_starting_whoever_imports_and_the_rest_is_the_loop() -> None:
    profile = read(
        [
            f"{BUILDER};_load (<frozen importlib._bootstrap>:7) 4",
            "run_forever (asyncio/base_events.py:600);select (selectors.py:4) 5",
            " 6",
        ]
    )
    assert profile.stages == {STARTING: 4, LOOP: 5, OUTSIDE: 6}


def test_the_text_has_each_stage_in_seconds_and_in_per_cent() -> None:
    found = text(1000, {"filling": Profile({LOOP: RATE, STARTING: 3 * RATE}, {})})
    assert f"| {LOOP} | 1.00 s (25%) |" in found
    assert "| all | 4.00 s |" in found
