"""The `[source]` table, where it connects to, and that nothing shows a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from flusso_core.errors import ConfigError, SourceFatal, SourceUnavailable
from flusso_source_postgres.connection import ConnectionTarget, connect_error, source_error
from flusso_source_postgres.options import PostgresOptions

URL = "postgresql://shop:s3cret@db.example.com:6543/store?sslmode=require"


def target(environ: dict[str, str] | None = None, **options: Any) -> ConnectionTarget:
    return PostgresOptions.model_validate(options).target(environ or {})


def test_a_url_connects_with_its_parameters_and_pinned_settings() -> None:
    """V6."""
    parts = conninfo_to_dict(target(connection_url=URL).conninfo)
    assert parts["host"] == "db.example.com"
    assert parts["port"] == "6543"
    assert parts["password"] == "s3cret"
    assert parts["sslmode"] == "require"
    for setting in ("datestyle=ISO,YMD", "timezone=UTC", "bytea_output=hex", "search_path="):
        assert f"-c {setting}" in str(parts["options"])


def test_the_users_own_settings_stay_but_cannot_unpin() -> None:
    options = conninfo_to_dict(
        target(connection_url=URL + "&options=-c%20work_mem%3D1MB%20-c%20timezone%3DCET").conninfo
    )["options"]
    assert "work_mem=1MB" in str(options)
    assert str(options).index("timezone=UTC") > str(options).index("timezone=CET")


def test_parts_default_and_may_each_come_from_the_environment() -> None:
    parts = conninfo_to_dict(
        target(
            {"PW": "p'w \\", "DBHOST": "db"},
            connection_url={
                "host": {"env": "DBHOST"},
                "password": {"env": "PW"},
                "database": "store",
            },
        ).conninfo
    )
    assert (parts["host"], parts["port"], parts["user"]) == ("db", "5432", "postgres")
    assert (parts["password"], parts["dbname"]) == ("p'w \\", "store")


def test_an_explicit_reference_beats_the_reserved_variable_which_beats_a_literal() -> None:
    environ = {"DATABASE_URL": "postgresql://reserved/db", "MINE": "postgresql://mine/db"}
    assert "mine" in target(environ, connection_url={"env": "MINE"}).where
    assert "reserved" in target(environ, connection_url=URL).where
    assert "reserved" in target(environ, connection_url={"database": "x"}).where
    assert "reserved" in target(environ).where


def test_an_unset_variable_or_no_connection_is_an_error_that_names_it() -> None:
    unset = r"connection_url: the environment variable MINE is not set"
    with pytest.raises(ConfigError, match=unset):
        target(connection_url={"env": "MINE"})
    unset = r"connection_url\.password: the environment variable PW is not set"
    with pytest.raises(ConfigError, match=unset):
        target(connection_url={"database": "x", "password": {"env": "PW"}})
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        target()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:s3cret@db:port/store",
        "postgresql://shop:s3cret@[::1/store",
        "postgresql://shop:pa@s3cret@db/store",
        "postgresql://shop:x@y/s3cret@db/store",
        "host=db password='s3cret",
        "s3cret",
        "postgresql://shop@db/store?passwort=s3cret",
    ],
)
def test_a_malformed_url_is_refused_without_quoting_it(url: str) -> None:
    """R4."""
    with pytest.raises(ConfigError) as caught:
        target(connection_url=url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_secret_is_shown_by_repr_or_validation_errors() -> None:
    """R4."""
    options = PostgresOptions.model_validate({"connection_url": URL})
    both = PostgresOptions.model_validate(
        {"connection_url": {"database": "store", "password": "s3cret"}}
    )
    for shown in (options, options.target({}), both, both.target({})):
        assert "s3cret" not in f"{shown!r} {shown}"
    for wrong in (
        {"connection_url": {"password": ["s3cret"], "database": "x"}},
        {"connection_url": ["s3cret"]},
        {"connection_url": {"database": "x", "passwd": "s3cret"}},
    ):
        with pytest.raises(ValidationError) as caught:
            PostgresOptions.model_validate(wrong)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": "x"},
        {"slot": "Upper"},
        {"slot": ""},
        {"backfill_workers": 0},
        {"connection_url": {"host": "x"}},
        {"connection_url": {"database": "x", "port": 70000}},
        {"connection_url": {"env": ""}},
    ],
)
def test_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PostgresOptions.model_validate(wrong)


def test_reading_options_and_registering_import_no_driver() -> None:
    code = (
        "import sys, flusso_source_postgres.plugin as p;"
        "p.flusso_capture(), p.flusso_builder();"
        "sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('FATAL:  password authentication failed for user "shop"', SourceFatal),
        ('FATAL:  database "store" does not exist', SourceFatal),
        ('FATAL:  role "shop" does not exist', SourceFatal),
        ("FATAL:  no pg_hba.conf entry for host", SourceFatal),
        ("FATAL:  must be superuser or replication role to start walsender", SourceFatal),
        ("FATAL:  sorry, too many clients already", SourceUnavailable),
        ("FATAL:  the database system is starting up", SourceUnavailable),
        ("FATAL:  number of requested standby connections exceeds", SourceUnavailable),
        ("connection refused", SourceUnavailable),
        ("could not translate host name to address: Name or service not known", SourceUnavailable),
    ],
)
def test_a_failed_connection_is_tried_again_only_where_that_may_help(
    message: str, kind: type[Exception]
) -> None:
    """R1."""
    assert type(connect_error(message, target(connection_url=URL))) is kind


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("28P01", SourceFatal),
        ("28000", SourceFatal),
        ("3D000", SourceFatal),
        ("53300", SourceUnavailable),
        ("57P03", SourceUnavailable),
        (None, SourceUnavailable),
    ],
)
def test_a_refusal_in_another_language_is_told_by_its_code(
    state: str | None, kind: type[Exception]
) -> None:
    """R1."""
    words = "FATAL:  Passwort-Authentifizierung für Benutzer »shop« fehlgeschlagen"
    assert type(connect_error(words, target(connection_url=URL), state)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.AdminShutdown("x"), SourceUnavailable),
        (psycopg.errors.TooManyConnections("x"), SourceUnavailable),
        (psycopg.errors.ConfigurationLimitExceeded("x"), SourceUnavailable),
        (psycopg.errors.LockNotAvailable("x"), SourceUnavailable),
        (psycopg.OperationalError("server closed the connection"), SourceUnavailable),
        (psycopg.errors.InsufficientPrivilege("x"), SourceFatal),
        (psycopg.errors.UndefinedTable("x"), SourceFatal),
        (psycopg.ProgrammingError("x"), SourceFatal),
    ],
)
def test_a_database_error_is_retryable_only_where_it_passes_by_itself(
    error: psycopg.Error, kind: type[Exception]
) -> None:
    assert isinstance(source_error(error, "do it"), kind)
