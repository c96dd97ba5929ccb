"""What every throw-away server does where it cannot start."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from flusso_sandbox import MariaDBServer, OpenSearchServer, PostgresServer, SandboxError

Server: TypeAlias = PostgresServer | MariaDBServer | OpenSearchServer


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (PostgresServer("9"), "no Postgres '9', but 18, 17, 16, 15"),
        (MariaDBServer("5"), r"no MariaDB '5', but 11\.4\.5"),
        (OpenSearchServer("1.0"), r"no OpenSearch '1\.0', but 3\.8\.0, 2\.19\.1"),
    ],
)
def test_an_unknown_version_is_named_with_the_known_ones(server: Server, message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        server.start()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            PostgresServer(settings={"wal_level": "nonsense"}),
            'invalid value for parameter "wal_level"',
        ),
        (
            MariaDBServer(settings={"no-such-setting": "1"}),
            "unknown variable 'no-such-setting",
        ),
        (
            OpenSearchServer(settings={"no.such.setting": "1"}),
            r"unknown setting \[no.such.setting\]",
        ),
    ],
)
def test_a_failing_start_tells_the_reason_and_cleans_up(server: Server, message: str) -> None:
    with pytest.raises(SandboxError, match=message) as caught:
        server.start()
    assert "Its log ends with:" in str(caught.value)
    assert server.pid is None
    with pytest.raises(SandboxError, match="not started"):
        _ = server.folder
