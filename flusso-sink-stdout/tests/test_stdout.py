"""What the stdout sink writes, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flusso_core.errors import SinkFatal
from flusso_core.model import Document, DocumentId, FlushReport, IndexMapping, Rejection
from flusso_sink_stdout import envelope
from flusso_sink_stdout.options import StdoutOptions
from flusso_sink_stdout.plugin import flusso_sink

if TYPE_CHECKING:
    from conftest import MakeSink

UPSERT = Document(DocumentId("users", 1, ("7",)), b'{"id":7,"name":"Ada"}', 5)
TOMBSTONE = Document(DocumentId("users", 1, ('a"b', "c")), None, 6)


async def test_a_flush_is_one_line_a_document(
    make_sink: MakeSink, mapping: IndexMapping, tmp_path: Path
) -> None:
    out = tmp_path / "documents.ndjson"
    async with make_sink(path=str(out)) as sink:
        await sink.begin_generation(mapping, 1)
        assert await sink.flush([UPSERT, TOMBSTONE], caught_up=True) == FlushReport()
        first, second = (json.loads(text) for text in out.read_text().splitlines())
    assert datetime.now(UTC) >= datetime.fromisoformat(first.pop("ts"))
    assert list(first) == ["sink", "version", "seq", "index", "op", "id", "meta", "document"]
    assert first == {
        "sink": "out",
        "version": 1,
        "seq": 1,
        "index": "users",
        "op": "upsert",
        "id": "7",
        "meta": {"fields": 2, "bytes": 21},
        "document": {"id": 7, "name": "Ada"},
    }
    assert second.pop("ts").endswith("Z")
    assert second == {
        "sink": "out",
        "version": 1,
        "seq": 2,
        "index": "users",
        "op": "delete",
        "id": '["a\\"b","c"]',
        "meta": {"fields": 0, "bytes": 0},
    }


async def test_a_file_is_appended_to(
    make_sink: MakeSink, mapping: IndexMapping, tmp_path: Path
) -> None:
    out = tmp_path / "documents.ndjson"
    for _ in range(2):
        async with make_sink(path=str(out)) as sink:
            await sink.begin_generation(mapping, 1)
            await sink.flush([UPSERT], caught_up=False)
    assert [json.loads(text)["seq"] for text in out.read_text().splitlines()] == [1, 1]


async def test_the_document_is_put_in_byte_for_byte(
    make_sink: MakeSink, mapping: IndexMapping, tmp_path: Path
) -> None:
    """V4: digits, escapes and broken text alike: nothing is parsed."""
    out = tmp_path / "documents.ndjson"
    body = b'{"n":1.10000000000000000000000001,"t":"\\u0000\xf0\x9f\x98\x80"}'
    async with make_sink(path=str(out)) as sink:
        await sink.begin_generation(mapping, 1)
        await sink.flush([UPSERT._replace(body=body)], caught_up=False)
    assert out.read_bytes().endswith(b',"document":' + body + b"}\n")


async def test_pretty_spreads_an_envelope_and_keeps_every_digit(
    make_sink: MakeSink, mapping: IndexMapping, tmp_path: Path
) -> None:
    out = tmp_path / "documents.json"
    body = b'{"n":1.10,"a":[],"o":{},"l":[1,{"x":"{,:} \\" [1]"}]}'
    async with make_sink(path=str(out), pretty=True) as sink:
        await sink.begin_generation(mapping, 1)
        await sink.flush([UPSERT._replace(body=body), TOMBSTONE], caught_up=False)
    text = out.read_text()
    assert '\n  "document": {\n    "n": 1.10,\n    "a": [],\n    "o": {},\n' in text
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(text)
    assert first["document"] == json.loads(body)
    assert json.loads(text[end:])["op"] == "delete"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_values, st.booleans())
def test_pretty_never_changes_a_value(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    encoded = text.encode(errors="surrogatepass")
    if not ascii_only:
        # Lone surrogates are no UTF-8, and so in no document.
        encoded = text.encode(errors="replace")
    pretty = envelope.prettify(encoded)
    assert json.loads(pretty) == json.loads(encoded)
    spread = json.dumps(json.loads(encoded), ensure_ascii=ascii_only, indent=2)
    assert pretty.decode() == spread + "\n"


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_key_and_name_make_a_line(key: str, index: str) -> None:
    document = Document(DocumentId(index, 1, (key, key)), b"{}", 1)
    text = envelope.line(document, sink=index, index=index, seq=1, ts="now", fields=0)
    assert text.count(b"\n") == 1
    parsed = json.loads(text)
    assert (parsed["sink"], parsed["index"]) == (index, index)


async def test_nothing_is_remembered(make_sink: MakeSink, mapping: IndexMapping) -> None:
    sink = make_sink()
    assert not sink.capabilities.records
    assert not sink.capabilities.versions
    assert await sink.acquire("a run") == 1
    assert await sink.load_records() == {}
    assert await sink.generations(mapping.index) == ()


async def test_a_document_of_an_unknown_index_is_an_error(
    make_sink: MakeSink, tmp_path: Path
) -> None:
    async with make_sink(path=str(tmp_path / "x")) as sink:
        with pytest.raises(SinkFatal, match="no generation of users was begun"):
            await sink.flush([UPSERT], caught_up=False)


async def test_a_full_device_ends_the_run_with_the_reason(
    make_sink: MakeSink, mapping: IndexMapping
) -> None:
    async with make_sink(path="/dev/full") as sink:
        await sink.begin_generation(mapping, 1)
        with pytest.raises(SinkFatal, match=r"sinks\.out: /dev/full cannot be written: No space"):
            await sink.flush([UPSERT], caught_up=False)


async def test_a_file_that_cannot_be_opened_is_named(make_sink: MakeSink, tmp_path: Path) -> None:
    sink = make_sink(path=str(tmp_path / "missing" / "x"))
    (finding,) = await sink.check()
    assert finding.message == "its folder does not exist"
    with pytest.raises(SinkFatal, match="missing/x cannot be opened: No such file"):
        await sink.open()
    assert await make_sink(path=str(tmp_path / "x")).check() == []
    (folder,) = await make_sink(path=str(tmp_path)).check()
    assert folder.message == "it is a folder"


async def test_there_is_no_quarantine(make_sink: MakeSink) -> None:
    sink = make_sink()
    await sink.quarantine([])
    with pytest.raises(SinkFatal, match="no quarantine"):
        await sink.quarantine([Rejection(UPSERT, "why not")])


def test_unknown_options_are_errors() -> None:
    with pytest.raises(ValidationError):
        StdoutOptions.model_validate({"prety": True})


def test_the_plugin_registers_its_type() -> None:
    plugin = flusso_sink()
    assert (plugin.name, plugin.options) == ("stdout", StdoutOptions)


_WRITER = """
import asyncio, sys
from flusso_core.errors import SinkFatal
from flusso_core.model import Document, DocumentId, IndexMapping
from flusso_sink_stdout.options import StdoutOptions
from flusso_sink_stdout.sink import StdoutSink

async def main():
    async with StdoutSink(StdoutOptions(), name="out") as sink:
        await sink.begin_generation(IndexMapping("users", "abc", ()), 1)
        for n in range(int(sys.argv[1])):
            body = b'{"x":"' + b"y" * 1000 + b'"}'
            document = Document(DocumentId("users", 1, (str(n),)), body, n)
            await sink.flush([document], caught_up=True)

try:
    asyncio.run(main())
except SinkFatal as error:
    sys.exit(str(error))
"""


def test_lines_arrive_on_standard_output() -> None:
    done = subprocess.run([sys.executable, "-c", _WRITER, "3"], capture_output=True, check=True)
    assert [json.loads(text)["id"] for text in done.stdout.splitlines()] == ["0", "1", "2"]
    assert done.stderr == b""


def test_a_closed_pipe_ends_the_run_with_a_message_and_no_traceback() -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, "100000"], stdout=write, stderr=subprocess.PIPE
    ) as process:
        os.close(write)
        os.read(read, 100)
        os.close(read)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode().strip() == "sinks.out: whoever reads standard output has closed it"
