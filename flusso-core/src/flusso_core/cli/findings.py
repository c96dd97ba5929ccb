"""What checks found: put together by what it is about, and printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flusso_core.cli.console import print_json, print_line
from flusso_core.model import Finding, Severity

if TYPE_CHECKING:
    from flusso_core.model import JsonValue
    from flusso_core.schema.model import IndexSchema

COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Group:
    """The findings about one thing, errors first.

    Attributes:
        subject: what they are about.
        indexes: the indexes that suffer from them; none where every one does.
        findings: at least one.
    """

    subject: str
    indexes: tuple[str, ...]
    findings: tuple[Finding, ...]


def grouped(findings: Iterable[Finding], schemas: Sequence[IndexSchema]) -> list[Group]:
    """Findings by their subjects: servers first, then indexes as configured, then tables."""
    places = _Places(schemas)
    by_subject: dict[str, list[Finding]] = {}
    for finding in dict.fromkeys(findings):
        by_subject.setdefault(finding.subject, []).append(finding)
    groups = [
        Group(
            subject,
            places.indexes(subject),
            tuple(sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))),
        )
        for subject, found in by_subject.items()
    ]
    return sorted(groups, key=lambda group: places.order(group.subject))


class _Places:
    """Where a subject belongs. `Finding.subject` says how edges name tables and indexes."""

    def __init__(self, schemas: Sequence[IndexSchema]) -> None:
        from flusso_core.schema import referenced_columns

        self._indexes = [schema.index for schema in schemas]
        self._tables: dict[str, list[str]] = {}
        for schema in schemas:
            for table in referenced_columns([schema]):
                self._tables.setdefault(f"table {table}", []).append(schema.index)

    def indexes(self, subject: str) -> tuple[str, ...]:
        number = self._index(subject)
        if number is not None:
            return (self._indexes[number],)
        return tuple(self._tables.get(subject, ()))

    def order(self, subject: str) -> tuple[int, int, str]:
        number = self._index(subject)
        if number is not None:
            return (1, number, subject)
        if subject.startswith("table "):
            return (2, 0, subject)
        return (0, 0, "")  # as they came

    def _index(self, subject: str) -> int | None:
        for number, name in enumerate(self._indexes):
            if subject.startswith(f"index {name!r}"):
                return number
        return None


def passes(groups: Iterable[Group]) -> bool:
    """Whether nothing found is an error."""
    return all(
        finding.severity is not Severity.ERROR for group in groups for finding in group.findings
    )


def print_findings_json(groups: Sequence[Group]) -> None:
    """Print the findings as `flusso check --format json` does."""
    found: list[JsonValue] = [
        {
            "severity": finding.severity.value,
            "subject": group.subject,
            "indexes": group.indexes,
            "message": finding.message,
            "cure": finding.cure,
        }
        for group in groups
        for finding in group.findings
    ]
    print_json({"ok": passes(groups), "findings": found})


def print_findings(groups: Sequence[Group]) -> None:
    """Print a heading for each subject, and under it what was found and what cures it."""
    for number, group in enumerate(groups):
        if number:
            print_line()
        concerns = ", ".join(group.indexes)
        own = len(group.indexes) == 1 and repr(concerns) in group.subject
        suffix = f" (in {concerns})" if concerns and not own else ""
        print_line((f"{group.subject}{suffix}", "bold"))
        for finding in group.findings:
            severity = (f"{finding.severity.value:<8}", COLOURS[finding.severity])
            print_line("  ", severity, f" {finding.message}")
            if finding.cure:
                print_line(f"           cure: {finding.cure}")


def summary(groups: Sequence[Group]) -> str:
    """How much was found: `2 errors, 1 warning`."""
    counts = dict.fromkeys(Severity, 0)
    for group in groups:
        for finding in group.findings:
            counts[finding.severity] += 1
    told = [
        f"{count} {severity.value}{'' if count == 1 else 's'}"
        for severity, count in counts.items()
        if count and severity is not Severity.INFO
    ]
    return ", ".join(told) or "everything is in order"
