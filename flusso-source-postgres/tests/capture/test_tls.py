"""Connections over TLS, and refusals by their code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trustme

from flusso_core.errors import SourceFatal
from flusso_sandbox.endpoints import PostgresEndpoint
from flusso_sandbox.postgres import PostgresServer
from flusso_source_postgres.refusal import sqlstate_of_refusal

from .shop import TABLES, Shop

pytestmark = pytest.mark.integration

WITH_TLS = "17"
"""The programs of this version have TLS compiled in; what speaks it here is libpq's part."""


@dataclass(frozen=True)
class Secure:
    """A server with TLS, and files of the authority that it trusts and of another one."""

    server: PostgresServer
    authority: Path
    stranger: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
    issued = authority.issue_cert("localhost")
    with PostgresServer(WITH_TLS) as server:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            [(data,)] = admin.execute("SHOW data_directory").fetchall()
            owner = Path(data).stat()
            for name, content in (
                ("server.key", issued.private_key_pem),
                ("server.crt", issued.cert_chain_pems[0]),
            ):
                path = Path(data) / name
                path.touch(mode=0o600)
                content.write_to_path(str(path))
                os.chown(path, owner.st_uid, owner.st_gid)
            admin.execute("ALTER SYSTEM SET ssl = on")
            admin.execute("SELECT pg_reload_conf()")
        yield Secure(server, folder / "authority.pem", folder / "stranger.pem")


@pytest.fixture
def secure_shop(secure: Secure) -> Iterator[Shop]:
    shop = Shop(secure.server.create_database("shop_1").replace("127.0.0.1", "localhost"))
    shop.sql(TABLES)
    yield shop
    secure.server.drop_database("shop_1")


async def test_every_connection_verifies_the_server(secure: Secure, secure_shop: Shop) -> None:
    """The replication connection too."""
    url = f"{secure_shop.url}?sslmode=verify-full&sslrootcert={secure.authority}"
    async with secure_shop.capture(url=url) as capture:
        await capture.provision(temporary=False)
        async with secure_shop.live(capture) as received:
            secure_shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: bool(got.changes))
            await capture.wait_visible(received.batches[-1])
            plain = secure_shop.sql(
                "SELECT application_name FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) "
                "WHERE application_name LIKE 'flusso%%' AND NOT ssl"
            )
            several = secure_shop.sql(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flusso%%'"
            )
    assert not plain
    assert several >= [(3,)]


async def test_a_server_of_another_authority_or_name_is_refused(
    secure: Secure, secure_shop: Shop
) -> None:
    """R4: for good, and no secret is shown."""
    for url, told in (
        (f"{secure_shop.url}?sslmode=verify-full&sslrootcert={secure.stranger}", "sslrootcert"),
        (
            secure_shop.url.replace("localhost", "127.0.0.1")
            + f"?sslmode=verify-full&sslrootcert={secure.authority}",
            "does not match host name",
        ),
    ):
        with pytest.raises(SourceFatal, match=told) as caught:
            async with secure_shop.capture(url=url):
                pass
        assert secure.server.password not in str(caught.value)


async def test_tls_that_the_server_does_not_have_is_refused(shop: Shop) -> None:
    with pytest.raises(SourceFatal, match="does not support SSL"):
        async with shop.capture(url=f"{shop.url}?sslmode=require"):
            pass


def test_a_refusal_has_a_code_whatever_its_words(postgres_server: PostgresEndpoint) -> None:
    """R1: the code does not depend on the server's `lc_messages`."""
    url = postgres_server.url()
    assert sqlstate_of_refusal(url.replace(postgres_server.password, "falsch")) == "28P01"
    assert sqlstate_of_refusal(postgres_server.url("not there")) == "3D000"
    assert sqlstate_of_refusal(url) is None
    assert sqlstate_of_refusal("postgresql://u:p@127.0.0.1:1/x") is None
