"""What every test of the package needs."""

from __future__ import annotations

import pytest

from flusso_source_polling.options import RESERVED_VARIABLE


@pytest.fixture(autouse=True)
def no_reserved_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no database: a test's options do."""
    monkeypatch.delenv(RESERVED_VARIABLE, raising=False)
