"""Free ports of the loopback interface."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

from flusso_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence


def free_port(among: Sequence[int] = (0,)) -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment.

    Args:
        among: The ports to choose from, in random order; by default whatever the system gives.

    Raises:
        SandboxError: All of them are in use.
    """
    for candidate in random.sample(among, len(among)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    msg = f"all ports from {min(among)} to {max(among)} are in use on 127.0.0.1: end what uses them"
    raise SandboxError(msg)
