"""`flusso check` over a backend in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flusso_core.cli import ExitCode
from flusso_core.cli.findings import Group, grouped, summary
from flusso_core.model import Finding, Severity, TableName
from flusso_core.schema import parse_schema

if TYPE_CHECKING:
    from .conftest import Place


def test_a_check_without_findings_ends_with_0(place: Place) -> None:
    done = place.run("check")
    assert (done.returncode, done.stdout) == (ExitCode.OK, "")
    assert done.stderr == "everything is in order\n"
    done = place.run("check", "--format", "json")
    assert json.loads(done.stdout) == {"version": 1, "ok": True, "findings": []}


def test_findings_are_told_with_cures_and_a_warning_alone_is_no_failure(place: Place) -> None:
    place.source["found"] = "x has no key [sic]"
    place.write()
    done = place.run("check")
    assert done.returncode == ExitCode.OK
    assert done.stdout.splitlines() == [
        "table public.parents (in parents)",
        "  warning  x has no key [sic]",
        "           cure: ALTER x",
    ]
    assert done.stderr == "1 warning\n"


def test_an_error_among_the_findings_ends_with_5(place: Place) -> None:
    place.source["found"] = "x has no key"
    place.sink["found"] = "too old"
    place.write()
    done = place.run("check", "--format", "json")
    assert done.returncode == ExitCode.FINDINGS
    assert json.loads(done.stdout) == {
        "version": 1,
        "ok": False,
        "findings": [
            {
                "severity": "error",
                "subject": "cluster",
                "indexes": [],
                "message": "too old",
                "cure": None,
            },
            {
                "severity": "warning",
                "subject": "table public.parents",
                "indexes": ["parents"],
                "message": "x has no key",
                "cure": "ALTER x",
            },
        ],
    }


def test_a_field_that_a_sink_refuses_is_told_of_its_index(place: Place) -> None:
    place.sink["refuses"] = "name"
    place.write()
    done = place.run("check")
    assert done.returncode == ExitCode.FINDINGS
    assert done.stdout.splitlines() == ["index 'parents'", "  error    the field name is refused"]


def test_what_cannot_be_reached_is_a_finding_and_the_rest_is_checked(place: Place) -> None:
    place.source["broken"] = True
    place.sink["down"] = True
    place.write()
    done = place.run("check", "--format", "json")
    assert done.returncode == ExitCode.FINDINGS
    found = json.loads(done.stdout)["findings"]
    assert [(item["subject"], item["message"]) for item in found] == [
        ("source fake", "the role may not replicate"),
        ("sink out", "nobody listens at 127.0.0.1:1"),
    ]


def test_offline_connects_to_nothing(place: Place) -> None:
    place.source["broken"] = True
    place.write()
    done = place.run("check", "--offline")
    assert (done.returncode, done.stdout) == (ExitCode.OK, "")


def test_wrong_files_and_missing_plugins_are_findings_in_the_json_too(place: Place) -> None:
    place.source["slto"] = "x"
    place.write()
    done = place.run("check", "--offline", "--format", "json")
    assert done.returncode == ExitCode.INVALID_CONFIG
    content = json.loads(done.stdout)
    assert content["ok"] is False
    [finding] = content["findings"]
    assert finding["subject"] == "files"
    assert finding["message"].startswith("flusso.toml:4:1: source.slto: unknown key")
    place.source = {"type": "nowhere"}
    place.write()
    done = place.run("check", "--offline", "--format", "json")
    assert done.returncode == ExitCode.PLUGIN
    assert json.loads(done.stdout)["findings"][0]["subject"] == "plugins"


def test_findings_are_grouped_by_server_index_and_table() -> None:
    """Whatever order they come in; what several indexes read names all of them."""
    text = "version: 1\ntable: {}\nfields:\n  - count: n\n    table: items\n    foreign_key: k\n"
    schemas = [
        parse_schema(text.format(name), index=name, origin=f"{name}.schema.yml")
        for name in ("users", "orders")
    ]
    table = f"table {TableName('public', 'items')}"

    def finding(subject: str, message: str, severity: Severity = Severity.WARNING) -> Finding:
        return Finding(severity, subject, message)

    found = [
        finding(table, "slow"),
        finding("index 'orders' (orders.schema.yml)", "odd"),
        finding("db:5432", "old"),
        finding(table, "seen within 5 s", Severity.INFO),
        finding(table, "unreadable", Severity.ERROR),
        finding("index 'users' (users.schema.yml)", "odd"),
        finding(table, "slow"),
    ]
    groups = grouped(found, schemas)
    assert [(group.subject.split(" (")[0], group.indexes) for group in groups] == [
        ("db:5432", ()),
        ("index 'users'", ("users",)),
        ("index 'orders'", ("orders",)),
        (table, ("users", "orders")),
    ]
    assert [each.message for each in groups[-1].findings] == [
        "unreadable",
        "slow",
        "seen within 5 s",
    ]
    assert summary(groups) == "1 error, 4 warnings"
    assert summary([Group("x", (), ())]) == "everything is in order"
