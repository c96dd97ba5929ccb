"""Every document of random databases is what plain Python says, after every change."""

from __future__ import annotations

import os
import secrets
import time

import pytest

from flusso_sandbox.endpoints import PostgresEndpoint

from .trial import Trial

pytestmark = pytest.mark.integration

SEED = "FLUSSO_ORACLE_SEED"
"""The variable that names a trial to repeat."""

SECONDS = "FLUSSO_ORACLE_SECONDS"
"""The variable that says for how long a soak tries."""


@pytest.fixture(autouse=True)
def _no_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


async def attempt(server: PostgresEndpoint, seed: int) -> None:
    name = f"oracle_{secrets.token_hex(6)}"
    url = server.create_database(name)
    try:
        await Trial(url, seed).run()
    finally:
        server.drop_database(name)


@pytest.mark.parametrize("seed", range(8))
async def test_random_documents_equal_the_database(
    postgres_server: PostgresEndpoint, seed: int
) -> None:
    """C1 to C10, C13, V1 to V4, V6."""
    await attempt(postgres_server, int(os.environ.get(SEED, seed)))


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_random_documents_equal_the_database_for_as_long_as_told(
    postgres_server: PostgresEndpoint,
) -> None:
    """C1 to C10, C13, V1 to V4, V6."""
    deadline = time.monotonic() + float(os.environ.get(SECONDS, "300"))
    while time.monotonic() < deadline:
        await attempt(postgres_server, secrets.randbits(40))
