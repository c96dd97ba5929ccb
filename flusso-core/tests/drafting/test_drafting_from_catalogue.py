"""A first schema from a catalogue: whatever the names are, it loads and says what was meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flusso_core.catalogue import CatalogueColumn, CatalogueForeignKey, CatalogueTable
from flusso_core.drafting import draft_schema, schema_text
from flusso_core.model import FieldType, TableName
from flusso_core.schema import parse_schema
from flusso_core.schema.model import IndexSchema, JoinField, JoinKind, ScalarField

USERS = TableName("public", "users")


def column(name: str, kind: FieldType | None = FieldType.LONG) -> CatalogueColumn:
    return CatalogueColumn(name, "some type", kind)


def key(name: str, table: TableName = USERS, referenced: str = "id") -> CatalogueForeignKey:
    return CatalogueForeignKey((name,), table, (referenced,))


def table(name: str, *columns: str, keys: tuple[CatalogueForeignKey, ...] = ()) -> CatalogueTable:
    return CatalogueTable(
        TableName("public", name),
        tuple(map(column, ("id", *columns))),
        primary_key=("id",),
        foreign_keys=keys,
    )


def drafted(root: CatalogueTable, *others: CatalogueTable) -> tuple[IndexSchema, str]:
    tables = {one.name: one for one in (root, *others)}
    text = schema_text(draft_schema(root, tables))
    return parse_schema(text, index="drafted", origin="drafted.schema.yml"), text


def relations(schema: IndexSchema) -> dict[str, JoinField]:
    return {field.name: field for field in schema.fields if isinstance(field, JoinField)}


def test_each_foreign_key_becomes_the_relation_that_it_is() -> None:
    users = table("users", "boss_id", keys=(key("boss_id"),))
    posts = table(
        "posts", "title", "author_id", "editor_id", keys=(key("author_id"), key("editor_id"))
    )
    one = table("settings", "user_id", keys=(key("user_id"),))
    one = CatalogueTable(one.name, one.columns, ("id",), (("user_id",),), one.foreign_keys)
    tags = table("tags", "word")
    junction = CatalogueTable(
        TableName("public", "user_tags"),
        (column("user_id"), column("tag_id")),
        primary_key=("user_id", "tag_id"),
        foreign_keys=(key("user_id"), key("tag_id", tags.name)),
    )
    found = relations(drafted(users, posts, one, tags, junction)[0])
    assert {name: field.kind for name, field in found.items()} == {
        "boss": JoinKind.BELONGS_TO,
        "users": JoinKind.HAS_MANY,
        "posts_by_author": JoinKind.HAS_MANY,
        "posts_by_editor": JoinKind.HAS_MANY,
        "settings": JoinKind.HAS_ONE,
        "tags": JoinKind.MANY_TO_MANY,
    }
    assert found["posts_by_editor"].foreign_key == "editor_id"
    names = [field.name for field in found["posts_by_editor"].fields]
    assert names == ["id", "title", "author_id"]


def test_a_junction_with_columns_of_its_own_is_a_relation_of_its_own() -> None:
    products = table("products")
    items = table(
        "items",
        "user_id",
        "product_id",
        "quantity",
        keys=(key("user_id"), key("product_id", products.name)),
    )
    found = relations(drafted(table("users"), products, items)[0])
    assert [(field.kind, field.table.name) for field in found.values()] == [
        (JoinKind.HAS_MANY, "items")
    ]


def test_what_a_relation_cannot_go_by_is_noted() -> None:
    wide = CatalogueForeignKey(("a", "b"), TableName("public", "pairs"), ("a", "b"))
    users = table("users", "a", "b", keys=(wide,))
    pairs = CatalogueTable(TableName("public", "pairs"), (column("a"), column("b")), ("a", "b"))
    nameless = CatalogueTable(
        TableName("public", "visits"), (column("user_id"),), (), (), (key("user_id"),)
    )
    other = table("mails", "address", keys=(key("address", referenced="address"),))
    schema, text = drafted(users, pairs, nameless, other)
    assert relations(schema) == {}
    assert "# The foreign key (a, b) of public.users has several columns" in text
    assert "# public.visits has no single column that identifies a row" in text
    assert "# public.mails points at (address), which is not the primary key" in text


def test_what_looks_like_a_secret_and_what_no_type_takes_is_commented_out() -> None:
    users = CatalogueTable(
        USERS,
        (
            column("id"),
            column("password_hash", FieldType.TEXT),
            column("apiKey", FieldType.TEXT),
            column("place", None),
        ),
        primary_key=("id",),
    )
    schema, text = drafted(users)
    assert [field.name for field in schema.fields] == ["id"]
    for line in ("# - text: password_hash", "# - text: apiKey", "# - custom: place"):
        assert f"  {line}" in text


names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u0085\u2028\u2029"),
    min_size=1,
    max_size=15,
).filter(lambda name: len(name.encode()) <= 63)
odd = st.sampled_from(["no", "null", "true", "Id", "select", 'a"b', "a.b", "1st", " x ", "ä", "~"])


@given(st.lists(names | odd, min_size=1, max_size=6, unique=True), names | odd, names | odd)
def test_any_name_comes_back_from_the_file(columns: list[str], schema: str, name: str) -> None:
    """V1."""
    root = CatalogueTable(
        TableName(schema, name),
        tuple(column(one, FieldType.KEYWORD) for one in columns),
        primary_key=(columns[0],),
        foreign_keys=(key(columns[-1], TableName(schema, name), columns[0]),),
    )
    found, _ = drafted(root)
    assert (found.table, found.primary_key) == (root.name, (columns[0],))
    read = [field.column for field in found.fields if isinstance(field, ScalarField)]
    shown = [one.name for one in root.columns]
    assert [one for one in shown if one in read] == read
    for relation in relations(found).values():
        assert relation.table == root.name
