"""Serves an application at an address for as long as a `with` lasts."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from flusso_core.errors import ConfigError

_SHUTDOWN_SECONDS = 1.0
"""How long open connections may keep a run from ending."""


class AddressInUse(ConfigError):
    """Another process listens at the address."""


@asynccontextmanager
async def serving(app: web.Application, address: str, name: str) -> AsyncGenerator[str]:
    """Serve the application.

    Args:
        app: what answers.
        address: `host:port`; an IPv6 address in brackets; port 0 takes a free one.
        name: of the surface, for messages: `public_address`.

    Yields:
        The URL at which it listens.

    Raises:
        AddressInUse: another process listens there.
        ConfigError: the address is none of this machine's, or may not be used.
    """
    host, _, port = address.rpartition(":")
    # Access logs say nothing that metrics do not, and a probe every second would fill the log.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.removeprefix("[").removesuffix("]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise _refused(error, address, name) from error
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _refused(error: OSError, address: str, name: str) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(
            f"{name} {address} is in use by another process: end that one, or set another address"
        )
    reason = error.strerror or str(error)
    return ConfigError(f"{name} {address} cannot be listened at ({reason}): set another address")
