"""Print how many tests ran, from the JUnit reports of one `nox` run; fail if none did.

Its one argument is the folder of the reports, `.nox/reports`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True)
class Count:
    """What one pytest run, or several, came to."""

    tests: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.tests + other.tests,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.seconds + other.seconds,
        )

    def __str__(self) -> str:
        passed = self.tests - self.failed - self.skipped
        return (
            f"{passed} passed, {self.failed} failed, {self.skipped} skipped in {self.seconds:.0f} s"
        )


def read(report: Path) -> Count:
    """Read one report, as pytest wrote it."""
    total = Count()
    for suite in ET.parse(report).getroot().iter("testsuite"):
        total += Count(
            int(suite.get("tests", 0)),
            int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
            int(suite.get("skipped", 0)),
            float(suite.get("time", 0)),
        )
    return total


def main(folder: Path) -> int:
    """Print a line a session and the sum; the exit code says whether all is well."""
    total = Count()
    for session in sorted(folder.iterdir()):
        count = sum((read(report) for report in sorted(session.glob("*.xml"))), Count())
        print(f"{session.name:>12}: {count}")
        total += count
    print(f"{'all tests':>12}: {total}")
    return 0 if total.tests and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
