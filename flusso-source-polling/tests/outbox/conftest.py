"""The application's connections to the database at `url`, which each module names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from .application import Application


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Application]]:
    """One more connection, as often as it is called."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Application(url)))
