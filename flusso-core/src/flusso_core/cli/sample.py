"""`flusso sample`: builds documents and prints them; nothing is written anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, cast

import click

from flusso_core.cli.console import FORMAT_VERSION, log_to_stderr, print_line
from flusso_core.cli.deployment import DeploymentArguments, deployment_options, overrides_of
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.named_index import index_argument, only
from flusso_core.cli.options import format_option, option, session_of, verbosity

if TYPE_CHECKING:
    from flusso_core.interfaces import DocumentBuilder
    from flusso_core.model import BuiltDocument, Key
    from flusso_core.pipeline import Plan

MOST_ROWS_A_PAGE = 1000


class SampleArguments(DeploymentArguments):
    """What the flags of `flusso sample` say."""

    index: str
    keys: tuple[str, ...]
    rows: int
    output: str


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, index, documents: [{id, document, or null: there is none}]}\n\n"
        "A KEY that begins with a dash comes after --."
    )
)
@index_argument
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@option(
    "--rows",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="COUNT",
    help="How many of the first documents to show where no KEY is given.",
)
@deployment_options
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[SampleArguments]) -> ExitCode:
    """Build documents and print them, without writing any.

    A KEY is a document's id: the text of the root row's key, or for a key of several columns a
    JSON array of their texts, such as '["7","de"]'. A key without a document ends it with 1.
    """
    from flusso_core.cli.compiling import read
    from flusso_core.pipeline import plan

    console = log_to_stderr(context)
    planned = plan(only(read(given), given["index"]), overrides_of(given))
    documents = asyncio.run(_documents(planned, given["keys"], given["rows"]))
    documents = _transformed(planned, given["index"], documents)
    if given["output"] == "json":
        _print_json(given["index"], documents)
    else:
        _print_pages(given["index"], documents)
    absent = [_id(document) for document in documents if document.body is None]
    if absent:
        console.print(
            f"{given['index']} has no document {', '.join(absent)}: there is no such row, it does "
            "not qualify, or a hook drops it"
        )
        return ExitCode.FAILURE
    if not documents and session_of(context).verbosity >= 0:
        console.print(f"{given['index']} has no documents: no row of its table qualifies")
    return ExitCode.OK


async def _documents(planned: Plan, texts: Sequence[str], rows: int) -> list[BuiltDocument]:
    from flusso_core.model import BuiltDocument

    [schema] = planned.deployment.schemas
    async with planned.make_builder() as builder:
        if not texts:
            return await _first(builder, schema.index, rows)
        width = len(schema.primary_key or ()) or await _key_width(builder, schema.index)
        if width == 0:  # no row at all
            return [BuiltDocument((text,), None) for text in texts]
        keys = list(dict.fromkeys(parse_key(text, width) for text in texts))
        return [
            document
            async for chunk in builder.build(schema.index, keys)
            for document in chunk
        ]  # fmt: skip


async def _first(builder: DocumentBuilder, index: str, wanted: int) -> list[BuiltDocument]:
    """The first documents in key order; rows that do not qualify are passed over."""
    from flusso_core.model import KeyRange

    found: list[BuiltDocument] = []
    after: Key | None = None
    size = wanted
    while True:
        page = await builder.page(index, KeyRange(), after, size)
        found += page.documents
        after = page.cursor
        if after is None or len(found) >= wanted:
            return found[:wanted]
        size = min(size * 2, MOST_ROWS_A_PAGE)


async def _key_width(builder: DocumentBuilder, index: str) -> int:
    """How many columns the root table's key has, by its first row; 0: there is none.

    Only the catalogue says it where the schema does not.
    """
    from flusso_core.model import KeyRange

    page = await builder.page(index, KeyRange(), None, 1)
    keys = [page.cursor] if page.cursor else [document.key for document in page.documents]
    return len(keys[0]) if keys else 0


def _transformed(
    planned: Plan, index: str, documents: Sequence[BuiltDocument]
) -> list[BuiltDocument]:
    """What the user's hooks make of the documents, as a run would write them.

    Raises:
        PluginError: a hook cannot be used.
        DocumentRejected: a hook fails on a document.
    """
    from flusso_core.engine.transforms import Transforms
    from flusso_core.errors import DocumentRejected
    from flusso_core.model import BuiltDocument, Document, DocumentId

    transforms = planned.transforms()
    if not documents or not transforms:
        return list(documents)
    ready, failed = Transforms(transforms).apply(
        [Document(DocumentId(index, 1, key), body, 0) for key, body in documents]
    )
    for rejection in failed:
        raise DocumentRejected(f"{index} {rejection.document.id.key}: {rejection.reason}")
    return [BuiltDocument(document.id.key, document.body) for document in ready]


def parse_key(text: str, width: int) -> Key:
    """The key of a document from its id, as `flusso_core.model.document_id_text` spells it.

    Args:
        text: what the user gave.
        width: how many columns the key has.

    Raises:
        click.UsageError: it is no id of such a key, or a digest, from which no key comes back.
    """
    if text.startswith("~sha256:"):
        raise click.UsageError(f"{text} is the digest of a long key; give the key itself")
    plain = text.removeprefix("~")
    if width == 1:
        return (plain,)
    try:
        parsed: object = json.loads(plain)
    except json.JSONDecodeError:
        parsed = None
    parts = cast("list[object]", parsed) if isinstance(parsed, list) else []
    texts = [str(part) for part in parts if isinstance(part, str | int)]
    if len(texts) != width or len(parts) != width:
        example = json.dumps([f"text {number}" for number in range(1, width + 1)])
        raise click.UsageError(
            f"the key has {width} columns: {text} should be a JSON array such as {example}"
        )
    return tuple(texts)


def _id(document: BuiltDocument) -> str:
    from flusso_core.model import document_id_text

    return document_id_text(document.key)


def _print_json(index: str, documents: Sequence[BuiltDocument]) -> None:
    # Put together as text: read into numbers, a document would not be what it is any more.
    items = ",".join(
        f'{{"id":{json.dumps(_id(document), ensure_ascii=False)},'
        f'"document":{"null" if document.body is None else document.body.decode()}}}'
        for document in documents
    )
    _print_indented(
        f'{{"version":{FORMAT_VERSION},"index":{json.dumps(index)},"documents":[{items}]}}'
    )


def _print_pages(index: str, documents: Sequence[BuiltDocument]) -> None:
    for document in documents:
        if document.body is not None:
            print_line((f"{index} {_id(document)}", "bold"))
            _print_indented(document.body.decode())


def _print_indented(text: str) -> None:
    from flusso_core.json_text import indented

    click.echo(indented(text))
