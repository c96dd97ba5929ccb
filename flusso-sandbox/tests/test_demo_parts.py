"""The parts of the demo that need no server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from rich.console import Console

from flusso_core.cli.exits import ExitCode
from flusso_core.config import Deployment, load_deployment
from flusso_sandbox.compare import Comparison, JsonDocument
from flusso_sandbox.demo import command, story
from flusso_sandbox.demo.changes import Outcome
from flusso_sandbox.demo.check import check_index
from flusso_sandbox.demo.file_target import FileTarget
from flusso_sandbox.demo.oracle import Oracle
from flusso_sandbox.demo.report import Figures, Report
from flusso_sandbox.demo.shop import FOLDER, INDEXES, ShopChange, expected_query, read_changes
from flusso_sandbox.demo.target import Answer, Target


def test_the_shop_comes_with_the_package() -> None:
    assert load_deployment(FOLDER / "flusso.toml").prefix == "shop_"
    for index in INDEXES:
        assert (FOLDER / f"{index}.schema.yml").is_file()
        assert "document" in expected_query(index)
    assert len(read_changes()) == 6


def test_a_change_has_its_name_and_one_line_of_its_statement() -> None:
    first, *_, last = read_changes()
    assert first.name == "a price"
    assert first.summary.startswith("UPDATE products SET price = price + 10.01 WHERE")
    assert len(first.summary) <= 80
    assert last.summary == "TRUNCATE product_tags;"


def test_help_answers_without_drivers_and_names_every_variable() -> None:
    script = (
        "import sys; from flusso_core.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'psycopg', 'opensearchpy', 'rich', 'requests'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    arguments = [sys.executable, "-c", script, "demo", "--help"]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    for flag in ("users", "keep", "postgres-url", "opensearch-url", "sink"):
        assert f"--{flag}" in ended.stdout
        assert f"FLUSSO_{flag.upper().replace('-', '_')}" in ended.stdout


def test_a_file_and_a_cluster_exclude_each_other() -> None:
    arguments = ["--sink", "stdout", "--opensearch-url", "http://127.0.0.1:1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == ExitCode.USAGE
    assert "exclude each other" in result.output


@pytest.mark.parametrize(("differences", "code"), [((), 0), (("7",), 5)])
def test_a_difference_ends_it_with_5(
    monkeypatch: pytest.MonkeyPatch, differences: tuple[str, ...], code: int
) -> None:
    comparisons = {"users": Comparison(10, differences, (), {})}
    figures = Figures(10, 1.0, 50.0, [], comparisons, 2.0)

    def run(_: object) -> Figures:
        return figures

    monkeypatch.setattr("flusso_sandbox.demo.story._Demo.run", run)
    assert story.tell(story.Choices(200, False, None, None, None), 0) == code


def envelope(index: str, identity: str, document: object) -> str:
    op = "delete" if document is None else "upsert"
    return json.dumps({"index": index, "op": op, "id": identity, "document": document}) + "\n"


def test_in_a_file_the_last_line_of_an_id_counts(tmp_path: Path) -> None:
    path = tmp_path / "documents"
    path.write_text(
        envelope("users", "1", {"name": "Ada"})
        + envelope("users", "2", {"name": "Zoë"})
        + envelope("orders", "1", {"total": 1})
        + envelope("users", "1", {"name": "Ada Lovelace"})
        + envelope("users", "2", None)
    )
    target = FileTarget(path)
    assert target.documents("users", ["1", "2", "3"]) == {"1": {"name": "Ada Lovelace"}}
    assert target.count("users") == 1
    assert list(target.ids("users")) == ["1"]
    assert target.count("products") == 0


def test_half_a_line_is_not_a_document_yet(tmp_path: Path) -> None:
    path = tmp_path / "documents"
    line = envelope("users", "1", {"name": "Ada"})
    path.write_text(line[:20])
    target = FileTarget(path)
    assert target.revisions("users", ["1"]) == {}
    with path.open("a") as file:
        file.write(line[20:])
    before = target.revisions("users", ["1"])["1"]
    with path.open("a") as file:
        file.write(envelope("users", "1", {"name": "Eve"}))
    assert target.revisions("users", ["1"])["1"] > before


class Held(Target):
    """A destination that holds these documents."""

    def __init__(self, documents: Mapping[str, JsonDocument]) -> None:
        self._documents = documents

    @property
    def verb(self) -> str:
        return "held"

    def direct(self, deployment: Deployment) -> Deployment:
        return deployment

    def revisions(self, index: str, ids: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(ids, 1)

    def documents(self, index: str, ids: Sequence[str]) -> Mapping[str, JsonDocument]:
        return {each: self._documents[each] for each in ids if each in self._documents}

    def count(self, index: str) -> int:
        return len(self._documents)

    def ids(self, index: str) -> Iterator[str]:
        return iter(self._documents)

    def search(self) -> Iterator[Answer]:
        return iter(())


class Pages:
    """What an oracle says, two pages of it."""

    def pages(self, index: str) -> Iterator[dict[str, JsonDocument]]:
        yield {"1": {"name": "Ada"}, "2": {"price": Decimal("1.50")}}
        yield {"3": {"name": "Eve"}}


def checked(documents: Mapping[str, JsonDocument]) -> Comparison:
    return check_index(cast("Oracle", Pages()), Held(documents), "users", lambda: None)


def test_what_is_missing_stale_or_extra_is_a_difference() -> None:
    right: dict[str, JsonDocument] = {
        "1": {"name": "Ada"},
        "2": {"price": Decimal("1.5")},
        "3": {"name": "Eve"},
    }
    assert checked(right).differences == 0
    assert checked(right).checked == 3
    assert checked({key: right[key] for key in ("1", "2")}).missing == ("3",)
    assert checked({**right, "4": {}}).extra == ("4",)
    both = checked({"1": right["1"], "2": right["2"], "4": {}})
    assert (both.missing, both.extra) == (("3",), ("4",))
    stale = checked({**right, "1": {"name": "Eve"}})
    assert stale.different == {"1": ('name: "Ada" → "Eve"',)}


def test_the_report_names_what_is_wrong() -> None:
    text = io.StringIO()
    report = Report(Console(file=text, width=200, markup=False, highlight=False))
    change = ShopChange("a price", "UPDATE products SET price = 1;")
    late = Outcome(change, {"products": ["7"]}, 0, ("products", "7"), [], None)
    report.outcome(1, late, "searchable")
    report.comparison("products", Comparison(3, ("7",), (), {}))
    assert "not all there in time: 1 document\n" in text.getvalue()
    assert "products                3 documents, 1 difference\n" in text.getvalue()
    assert "missing: 7" in text.getvalue()
