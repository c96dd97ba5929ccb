"""What becomes of figures: ratios, goals, tables, JSON."""

from __future__ import annotations

import json

from benchmarks.goals import ONE_COMMIT, verdicts
from benchmarks.report import comparison_table, page, tables
from benchmarks.results import Results

from .made_results import a_round, measured, results


def verdict(found: Results, words: str) -> tuple[str, str]:
    """The figure and the word of the goal whose name has these words."""
    (one,) = (one for one in verdicts(found) if words in one.goal.name)
    return one.value_text, one.word


def test_a_speed_is_given_as_a_part_of_the_floors_of_the_same_round() -> None:
    one = measured(a_round(2.0, 1.0), a_round(1.0, 0.9), a_round(4.0, 3.2))
    assert one.to_floor == 0.8
    assert one.documents_per_second == 500


def test_without_a_floor_there_is_no_ratio() -> None:
    assert measured(a_round(1.0, None)).to_floor is None


def test_goals_are_met_and_missed_with_their_figures() -> None:
    found = results(measured(a_round(1.0, 0.5)))
    assert verdict(found, "backfill, of the floor") == ("0.50", "**missed**")
    assert verdict(found, "p50") == ("1.60 x", "met")
    assert verdict(found, "CPU of a backfill") == ("10.0 %", "met")
    assert verdict(found, "--help") == ("120 ms", "met")
    assert verdict(found, "1,000 changes/s") == ("900 ms", "met")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert verdict(Results({}, []), "backfill, of the floor") == ("not measured", "-")
    assert {one.met for one in verdicts(Results({}, []))} == {None}


def test_growth_is_between_sizes_of_which_one_is_ten_times_the_other() -> None:
    found = results(
        measured(a_round(1.0), rows=100),
        measured(a_round(5.0), rows=333),
        measured(a_round(12.0), rows=1000),
    )
    assert verdict(found, "time of a backfill") == ("12.00 x", "**missed**")
    assert verdict(found, "memory of a backfill") == ("1.00 x", "met")


def test_writes_a_document_are_those_of_the_worst_round() -> None:
    one = measured(a_round(writes=1000), a_round(writes=2500), name=ONE_COMMIT, changes=10_000)
    assert verdict(results(one), "writes a document") == ("2.50", "**missed**")


def test_a_comparison_is_of_the_rounds_by_pairs() -> None:
    ours = measured(a_round(1.0), a_round(3.0), a_round(1.0))
    base = measured(a_round(2.0), a_round(6.0), a_round(1.0), program="main~3")
    (row,) = comparison_table(results(ours, base), "main~3").rows
    assert row[-2:] == ("2.00 x", "1.00 x")


def test_the_page_has_every_table_and_the_json_every_figure() -> None:
    found = results(measured(), measured(name="root rows", changes=10))
    text = page(found, "The profile.\n")
    for table in tables(found):
        assert table.markdown() in text
    assert text.endswith("The profile.\n")
    told = json.loads(json.dumps(found.as_json()))
    assert told["version"] == 1
    assert told["measurements"][0]["to_floor"] == 0.5
    assert told["measurements"][0]["rounds"][0]["cpu"]["postgres"] == 3.0
    assert told["latencies"][0]["p99"] == 40.0
