"""The command `flusso`.

One module a command, imported when that command is called: `flusso --help` and `flusso plugins
list` import no backend and no driver. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

from flusso_core.cli.exits import ExitCode

__all__ = ["ExitCode", "main"]


def main() -> None:
    """Run the command line and end the process with an `ExitCode`."""
    from flusso_core.cli.app import app

    app.main(prog_name="flusso")
