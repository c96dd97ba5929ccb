"""From PGSync's schema files to flusso's.

PGSync reads types and foreign keys from the database when it runs; a schema file of flusso's says
them. They come from the catalogue where there is one, and else are guessed and said to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flusso_core.catalogue import CatalogueColumn, CatalogueForeignKey, CatalogueTable
from flusso_core.drafting.pgsync_format import PgsyncDocument, PgsyncNode, PgsyncRelationship
from flusso_core.drafting.text import (
    FieldDraft,
    Keys,
    SchemaDraft,
    column_text,
    table_text,
)
from flusso_core.model import FieldType, JsonValue, TableName

_JSON_OPERATOR = re.compile(r"#>>|#>|->>|->")
_MAPPED: Mapping[str, FieldType] = {
    "text": FieldType.TEXT,
    "keyword": FieldType.KEYWORD,
    "boolean": FieldType.BOOLEAN,
    "byte": FieldType.SHORT,
    "short": FieldType.SHORT,
    "integer": FieldType.INTEGER,
    "long": FieldType.LONG,
    "float": FieldType.FLOAT,
    "double": FieldType.DOUBLE,
    "date": FieldType.TIMESTAMP,
    "binary": FieldType.BINARY,
}
"""What PGSync's `mapping` calls a type, as a field type of columns whose type is not known."""

_WORDS = frozenset({FieldType.TEXT, FieldType.KEYWORD, FieldType.IDENTIFIER, FieldType.ENUM})
_ANALYZERS = ("analyzer", "search_analyzer", "normalizer")


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Something in a PGSync schema that has no counterpart, or only a near one.

    Attributes:
        path: where, as a JSON path.
        message: what becomes of it, and what to do.
    """

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """An index of a PGSync schema as flusso's.

    Attributes:
        index: its logical name.
        schema: its schema file.
        settings: of the index at the destination.
        unmatched: what has no counterpart, in the file's order.
    """

    index: str
    schema: SchemaDraft
    settings: Mapping[str, JsonValue]
    unmatched: tuple[Unmatched, ...]


def migrate_pgsync(
    documents: Sequence[PgsyncDocument],
    tables: Mapping[TableName, CatalogueTable] | None = None,
) -> list[Migrated]:
    """Every index of a PGSync schema file.

    Args:
        documents: the file.
        tables: the database's tables; `None`: types and keys are guessed from names.
    """
    names = Keys()
    return [
        _Migration(document, f"$[{number}]", tables).run(names)
        for number, document in enumerate(documents)
    ]


@dataclass
class _Migration:
    document: PgsyncDocument
    path: str
    tables: Mapping[TableName, CatalogueTable] | None
    unmatched: list[Unmatched] = field(default_factory=list[Unmatched])

    def run(self, names: Keys) -> Migrated:
        document, root = self.document, self.document.nodes
        index = names.take((document.index or document.database).lower())
        for key in document.unknown():
            self._report(f"{self.path}.{key}", _WITHOUT_COUNTERPART.get(key, "is not carried over"))
        settings = self._settings()
        name = TableName(root.schema_, root.table)
        fields = self._fields(root, f"{self.path}.nodes", name)
        guessed = ["Types and keys are guessed: the database was not read."]
        schema = SchemaDraft(
            table=name,
            primary_key=tuple(root.primary_key) or self._primary_key(name),
            fields=fields,
            comments=(
                f"The index {index}, migrated from a PGSync schema.",
                *(guessed if self.tables is None else ()),
            ),
            notes=tuple(
                f"Without counterpart: {one.path}: {one.message}" for one in self.unmatched
            ),
        )
        return Migrated(index, schema, settings, tuple(self.unmatched))

    def _report(self, path: str, message: str) -> None:
        self.unmatched.append(Unmatched(path, message))

    def _settings(self) -> Mapping[str, JsonValue]:
        kept: dict[str, JsonValue] = {}
        for key, value in self.document.setting.items():
            if key == "analysis":
                self._report(
                    f"{self.path}.setting.analysis",
                    "analyzers are flusso's own; a field's `options` may name any built-in one",
                )
            else:
                kept[key] = value
        return kept

    def _fields(self, node: PgsyncNode, path: str, root: TableName) -> tuple[FieldDraft, ...]:
        keys = Keys()
        for key in node.unknown():
            self._report(f"{path}.{key}", _WITHOUT_COUNTERPART.get(key, "is not carried over"))
        if node.base_tables:
            self._report(
                f"{path}.base_tables",
                "changes of a view are not in the stream; make its tables the relations",
            )
        for key in node.transform.unknown():
            self._report(
                f"{path}.transform.{key}",
                _TRANSFORMS.get(key, "has no counterpart; compute it in a generated column"),
            )
        columns = tuple(self._columns(node, path, keys))
        children = tuple(
            self._relation(child, f"{path}.children[{number}]", node, root, keys)
            for number, child in enumerate(node.children)
        )
        return columns + children

    def _columns(self, node: PgsyncNode, path: str, keys: Keys) -> Iterator[FieldDraft]:
        table = self._table(node)
        names = node.columns
        if not names:
            if table is not None:
                names = [column.name for column in table.columns]
            else:
                names = list(node.primary_key) or ["id"]
                self._report(
                    f"{path}.columns",
                    f"which columns are all of {node.table} only the database says; "
                    f"{', '.join(names)} is written, add the others",
                )
        for number, name in enumerate(names):
            here = f"{path}.columns[{number}]"
            if _JSON_OPERATOR.search(name):
                yield self._json_path(name, here, node, keys)
            else:
                yield self._column(name, here, node, table, keys)

    def _json_path(self, name: str, path: str, node: PgsyncNode, keys: Keys) -> FieldDraft:
        """A path into a json column: only the whole column has a field."""
        column = _JSON_OPERATOR.split(name)[0]
        self._report(
            path, f"a path into a json column; index all of {column} (`json`, `map`), or add a "
            "generated column"
        )  # fmt: skip
        label = re.sub(r"[{}]", "", "_".join(_JSON_OPERATOR.split(name)))
        wanted = keys.take(node.transform.rename.get(label, label))
        return FieldDraft("json", wanted, {"column": column_text(column)}, disabled=True)

    def _column(
        self,
        name: str,
        path: str,
        node: PgsyncNode,
        table: CatalogueTable | None,
        keys: Keys,
    ) -> FieldDraft:
        label = node.transform.rename.get(name, name)
        key = keys.take(label)
        if key != label:
            self._report(path, f"{label!r} is no document key; it is written as {key}")
        known = None if table is None else _column_of(table, name)
        if table is not None and known is None:
            self._report(path, f"{table.name} has no column {name}")
            return FieldDraft("keyword", key, {"column": column_text(name)}, disabled=True)
        given = node.transform.mapping.get(label, {})
        kind, options = self._type(known, dict(given), f"{_of(path)}.transform.mapping.{label}")
        settings: dict[str, JsonValue] = {}
        if kind == FieldType.CUSTOM:
            settings["postgres"] = [known.source_type if known else "text"]
            settings["opensearch"] = options.pop("type")
        if key != column_text(name):
            settings["column"] = column_text(name)
        if known is not None and kind == FieldType.ENUM and known.variants:
            settings["variants"] = list(known.variants)
        if options:
            settings["options"] = options
        return FieldDraft(kind.value, key, settings)

    def _type(
        self, column: CatalogueColumn | None, given: dict[str, JsonValue], path: str
    ) -> tuple[FieldType, dict[str, JsonValue]]:
        """The field type, and the mapping's options that it does not imply."""
        mapped = given.pop("type", None)
        own = self._own_analyzers(given)
        if own:
            self._report(path, f"the analyzer {own} is not there; this mapping is left out")
            given = {}
        wanted = _MAPPED.get(str(mapped))
        if column is None or column.type is None:
            if mapped is None or wanted is not None:
                return wanted or FieldType.KEYWORD, given
            return FieldType.CUSTOM, {"type": mapped, **given}
        if mapped is None or wanted is column.type:
            return column.type, given
        if wanted is not None and wanted in _WORDS and column.type in _WORDS:
            return wanted, given  # a choice of how words are searched
        if mapped == "date" and column.type in (FieldType.DATE, FieldType.TIMESTAMP):
            return column.type, given
        return column.type, {"type": mapped, **given}

    def _own_analyzers(self, options: Mapping[str, JsonValue]) -> str | None:
        """An analyzer of the document's own `setting` that the options name."""
        analysis = self.document.setting.get("analysis")
        defined: set[str] = set()
        if isinstance(analysis, Mapping):
            for kind in ("analyzer", "normalizer"):
                group = analysis.get(kind)
                defined |= set(group) if isinstance(group, Mapping) else set()
        for key, value in options.items():
            if isinstance(value, Mapping):
                found = self._own_analyzers(value)
                if found:
                    return found
            elif key in _ANALYZERS and value in defined:
                return str(value)
        return None

    def _relation(
        self, child: PgsyncNode, path: str, parent: PgsyncNode, root: TableName, keys: Keys
    ) -> FieldDraft:
        label = child.label or child.table
        label = parent.transform.rename.get(label, label)
        key = keys.take(label)
        name = TableName(child.schema_, child.table)
        settings: dict[str, JsonValue] = {"table": table_text(name, root)}
        relationship = child.relationship
        if relationship is None:
            self._report(path, "without a relationship it has no place in the document")
            return FieldDraft("has_many", key, settings, disabled=True)
        for unknown in relationship.unknown():
            self._report(f"{path}.relationship.{unknown}", "is not carried over")
        if relationship.variant == "scalar":
            self._report(
                f"{path}.relationship.variant",
                f"{label} becomes objects with a field each instead of bare values",
            )
        kind, more = self._joined(child, parent, relationship, path)
        settings |= more
        if child.primary_key:
            settings.setdefault("primary_key", column_text(child.primary_key[0]))
        fields = self._fields(child, path, root)
        if all(one.disabled for one in fields):
            self._report(path, "none of its columns has a field, so it is commented out")
            return FieldDraft(kind, key, settings, fields, disabled=True)
        return FieldDraft(kind, key, settings, fields)

    def _joined(
        self, child: PgsyncNode, parent: PgsyncNode, relationship: PgsyncRelationship, path: str
    ) -> tuple[str, dict[str, JsonValue]]:
        """The relation's verb and what it goes by."""
        if relationship.through_tables:
            return self._through(child, parent, relationship, path)
        pair = self._given(child, parent, relationship, path) or self._known(
            child, parent, relationship, path
        )
        own, far, belongs = pair
        if belongs and relationship.type == "one_to_one":
            return "belongs_to", {"column": column_text(own), "primary_key": column_text(far)}
        settings: dict[str, JsonValue] = {"foreign_key": column_text(far)}
        below = self._table(child)
        if below is not None and len(below.primary_key) != 1:
            within = [name for name in below.primary_key if name != far]
            if len(within) == 1:
                settings["primary_key"] = column_text(within[0])
            else:
                self._report(path, f"name the column of {below.name} that identifies a row")
        return ("has_one" if relationship.type == "one_to_one" else "has_many"), settings

    def _given(
        self, child: PgsyncNode, parent: PgsyncNode, relationship: PgsyncRelationship, path: str
    ) -> tuple[str, str, bool] | None:
        """The parent's column, the child's, and whether the parent points, as the file says."""
        key = relationship.foreign_key
        if key is None or not key.parent or not key.child:
            return None
        if len(key.parent) > 1 or len(key.child) > 1:
            self._report(
                f"{path}.relationship.foreign_key", "a relation goes by one column: the first"
            )
        own, far = key.parent[0], key.child[0]
        above = self._table(parent)
        if above is None:
            # By the usual names: what is pointed at is called id, what points is not.
            points = own != "id" and (far == "id" or not far.endswith(("_id", "Id")))
        else:
            below = TableName(child.schema_, child.table)
            points = any(
                each.columns == (own,) and each.table == below for each in above.foreign_keys
            )
        return own, far, points

    def _known(
        self, child: PgsyncNode, parent: PgsyncNode, relationship: PgsyncRelationship, path: str
    ) -> tuple[str, str, bool]:
        """The same by the catalogue's foreign keys, or by the usual names."""
        below, above = self._table(child), self._table(parent)
        if below is not None and above is not None:
            if relationship.type == "one_to_one" and (key := _single(above, below.name)):
                return key.columns[0], key.referenced[0], True
            if key := _single(below, above.name):
                return key.referenced[0], key.columns[0], False
        guess = f"{parent.table}_id"
        if relationship.type == "one_to_one":
            column = f"{child.table}_id"
            self._report(
                f"{path}.relationship",
                f"no foreign key is known; {parent.table}.{column} is taken to point at "
                f"{child.table}.id",
            )
            return column, "id", True
        self._report(
            f"{path}.relationship",
            f"no foreign key is known; {child.table}.{guess} is taken to point back",
        )
        return "id", guess, False

    def _through(
        self, child: PgsyncNode, parent: PgsyncNode, relationship: PgsyncRelationship, path: str
    ) -> tuple[str, dict[str, JsonValue]]:
        through = relationship.through_tables[0]
        for number in range(1, len(relationship.through_tables)):
            self._report(f"{path}.relationship.through_tables[{number}]", "one junction is enough")
        if relationship.type == "one_to_one":
            self._report(f"{path}.relationship.type", "through a junction it becomes an array")
        name = TableName(child.schema_, through)
        junction = None if self.tables is None else self.tables.get(name)
        left = right = None
        if junction is not None:
            left = _single(junction, TableName(parent.schema_, parent.table))
            right = _single(junction, TableName(child.schema_, child.table), other_than=left)
        if left is None or right is None:
            self._report(
                f"{path}.relationship.through_tables[0]",
                f"no foreign keys of {through} are known; {parent.table}_id and {child.table}_id "
                "are taken",
            )
        keys: JsonValue = {
            "table": table_text(name, TableName(self.document.nodes.schema_, "")),
            "left_key": column_text(left.columns[0] if left else f"{parent.table}_id"),
            "right_key": column_text(right.columns[0] if right else f"{child.table}_id"),
        }
        settings: dict[str, JsonValue] = {"through": keys}
        if right is not None:
            settings["primary_key"] = column_text(right.referenced[0])
        return "many_to_many", settings

    def _table(self, node: PgsyncNode) -> CatalogueTable | None:
        if self.tables is None:
            return None
        return self.tables.get(TableName(node.schema_, node.table))

    def _primary_key(self, name: TableName) -> tuple[str, ...]:
        table = None if self.tables is None else self.tables.get(name)
        return () if table is None else table.primary_key


_WITHOUT_COUNTERPART = {
    "routing": "documents are not routed",
    "plugins": "write a hook (the entry-point group flusso.hooks) that transforms documents",
    "pipeline": "set `pipeline` in the table of the sink: it holds for every index",
    "mapping": "write it as `options` of the fields",
}
_TRANSFORMS = {
    "concat": "several columns in one; add a generated column",
    "move": "a value moves to another place; write the field there, or use a hook",
    "replace": "parts of a value are replaced; add a generated column, or use a hook",
    "filter": "write it as `filters`",
}


def _of(path: str) -> str:
    """The node of a column's path."""
    return path.rpartition(".columns[")[0]


def _column_of(table: CatalogueTable, name: str) -> CatalogueColumn | None:
    return next((column for column in table.columns if column.name == name), None)


def _single(
    table: CatalogueTable, target: TableName, other_than: CatalogueForeignKey | None = None
) -> CatalogueForeignKey | None:
    """The foreign key of one column by which a table points at another."""
    for key in table.foreign_keys:
        if key.table == target and len(key.columns) == 1 and key is not other_than:
            return key
    return None
