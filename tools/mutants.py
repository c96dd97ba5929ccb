"""Print the table of mutants: what is wrong with each, and which check catches it.

```console
$ uv run python tools/mutants.py
```

Every check is run on every mutant, as the tests do; a mutant that is not caught by exactly the
checks that are meant to is marked, and the command fails.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parent.parent / "flusso-core" / "tests"
MODULES = sorted(path.stem for path in (TESTS / "testing").glob("test_mutants_*.py"))


def main() -> int:
    """Run the mutants and print a line for each."""
    sys.path.insert(0, str(TESTS))
    failing = import_module("testing.mutants").failing
    table = Table("mutant", "what it does", "caught by", "also", "as declared", title="Mutants")
    wrong = 0
    for name in MODULES:
        for kit, mutants in import_module(f"testing.{name}").KITS:
            for mutant in mutants.values():
                good = failing(kit, mutant.bench) == {mutant.caught_by, *mutant.also}
                wrong += not good
                also = str(len(mutant.also) or "")
                row = (mutant.name, mutant.wrong, mutant.caught_by, also, "yes" if good else "NO")
                table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"{table.row_count - wrong} of {table.row_count} mutants are caught as declared")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
