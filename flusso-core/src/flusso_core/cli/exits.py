"""How a command ends."""

from __future__ import annotations

from enum import IntEnum

from flusso_core.errors import ConfigError, PluginError


class ExitCode(IntEnum):
    """Exit codes of every command.

    A run that a signal stopped and that drained ends with `OK`; a second signal ends it at once
    with 130 (SIGINT) or 143 (SIGTERM).
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    INVALID_CONFIG = 3
    PLUGIN = 4
    FINDINGS = 5


def exit_code_of(error: BaseException) -> ExitCode:
    """The code that a command ends with after this error."""
    match error:
        case ConfigError():
            return ExitCode.INVALID_CONFIG
        case PluginError():
            return ExitCode.PLUGIN
        case _:
            return ExitCode.FAILURE
