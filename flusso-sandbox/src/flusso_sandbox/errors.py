"""Errors of the sandbox.

```text
FlussoError
└── SandboxError                a server could not be started, reached or stopped
    └── DownloadUnavailable     a server's files could not be fetched
```
"""

from __future__ import annotations

from flusso_core.errors import FlussoError


class SandboxError(FlussoError):
    """A server could not be started, reached or stopped.

    Where a throw-away server failed, the message ends with the last lines of its log.
    """


class DownloadUnavailable(SandboxError):
    """A server's files are neither in the cache nor to be had from the package registry."""
