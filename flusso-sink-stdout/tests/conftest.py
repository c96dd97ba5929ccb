"""A sink as the plugin loader makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flusso_core.hookspecs import SinkContext
from flusso_core.model import FieldType, IndexMapping, MappedField
from flusso_sink_stdout.options import StdoutOptions
from flusso_sink_stdout.plugin import create
from flusso_sink_stdout.sink import StdoutSink

MakeSink = Callable[..., StdoutSink]


@pytest.fixture
def mapping() -> IndexMapping:
    fields = (MappedField("id", FieldType.LONG, "id"), MappedField("name", FieldType.TEXT, "name"))
    return IndexMapping("users", "abc", fields)


@pytest.fixture
def make_sink() -> MakeSink:
    def make(**options: Any) -> StdoutSink:
        given = StdoutOptions.model_validate(options)
        sink = create(SinkContext(name="out", options=given, prefix="shop_"))
        assert isinstance(sink, StdoutSink)
        return sink

    return make
