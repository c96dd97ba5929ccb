"""What all tests of the sandbox need."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C mean something in the programs that tests start.

    A shell starts what runs in its background with SIGINT ignored, and every child inherits that;
    a signal with a handler is at its default in a child.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
