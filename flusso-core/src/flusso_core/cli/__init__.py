"""The command `flusso`.

One module a command, imported when that command is called: `flusso --help` and `flusso plugins
list` import no backend and no driver. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import gc

from flusso_core.cli.exits import ExitCode

__all__ = ["ExitCode", "main"]

_NEW_OBJECTS = 10_000
"""Between two searches for cyclic garbage (`gc.set_threshold`). With the interpreter's 700, a tenth
of the CPU time of a start goes by in finding that modules are no garbage."""


def main() -> None:
    """Run the command line and end the process with an `ExitCode`."""
    gc.set_threshold(_NEW_OBJECTS)
    from flusso_core.cli.app import app

    app.main(prog_name="flusso")
