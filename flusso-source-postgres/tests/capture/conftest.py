"""Databases to follow."""

from __future__ import annotations

import pytest

from .shop import TABLES, Shop


@pytest.fixture
def database(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An empty database."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Shop(postgres_database)


@pytest.fixture
def shop(database: Shop) -> Shop:
    """A database with empty tables of users and orders."""
    database.sql(TABLES)
    return database
