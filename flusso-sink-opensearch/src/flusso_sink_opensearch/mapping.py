"""From a typed `IndexMapping` to OpenSearch's own mapping and analysis settings.

The types and subfields are those of the schema format, version 1 ("File formats" in the docs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

from flusso_core.model import FieldType, IndexMapping, JsonValue, MappedField
from flusso_sink_opensearch.options import TextAnalysis

Properties: TypeAlias = dict[str, JsonValue]

TEXT_ANALYZER = "flusso_text"
CODE_ANALYZER = "flusso_code"
LOWERCASE_NORMALIZER = "flusso_lowercase"
ENUM_SORT = "flusso_enumsort__"

SUBFIELD_IGNORE_ABOVE = 256
KEYWORD_IGNORE_ABOVE = 8191
"""Characters: 8191 of up to four bytes fit Lucene's longest term, 32766 bytes
(`IndexWriter.MAX_TERM_LENGTH`), so no value is too long to be accepted."""

TIMESTAMP_FORMAT = "||".join(
    (
        # The default of `date` fields, then times of day, with and without fraction and zone.
        "strict_date_optional_time",
        "epoch_millis",
        "strict_hour_minute_second",
        "strict_hour_minute_second_fraction",
        "strict_time_no_millis",
        "strict_time",
    )
)

_KEYWORDS = {FieldType.KEYWORD, FieldType.ENUM, FieldType.UUID}
_TEXTS = {FieldType.TEXT: TEXT_ANALYZER, FieldType.IDENTIFIER: CODE_ANALYZER}
_PLAIN: Mapping[FieldType, Properties] = {
    FieldType.SHORT: {"type": "short", "ignore_malformed": True},
    FieldType.INTEGER: {"type": "integer", "ignore_malformed": True},
    FieldType.LONG: {"type": "long", "ignore_malformed": True},
    FieldType.FLOAT: {"type": "float", "ignore_malformed": True},
    FieldType.DOUBLE: {"type": "double", "ignore_malformed": True},
    FieldType.DECIMAL: {"type": "double", "ignore_malformed": True},
    FieldType.DATE: {"type": "date", "ignore_malformed": True},
    FieldType.TIMESTAMP: {"type": "date", "ignore_malformed": True, "format": TIMESTAMP_FORMAT},
    FieldType.JSON: {"type": "object", "enabled": False},
    FieldType.MAP: {"type": "object", "dynamic": "true"},
    FieldType.GEO: {"type": "geo_point"},
    # Without a type it is an object; this is how the server gives it back.
    FieldType.OBJECT: {},
}


def index_mappings(mapping: IndexMapping, *, auto_subfields: bool) -> Properties:
    """The `mappings` of an index: strict, so that no document can ever change them."""
    return {
        "dynamic": "strict",
        "properties": _properties(mapping.fields, auto_subfields=auto_subfields),
    }


def index_analysis(mapping: IndexMapping, text_analysis: TextAnalysis) -> Properties:
    """The `analysis` settings of an index: the analyzers that are always defined, and the rank of
    each enum's variants.
    """
    icu = text_analysis is TextAnalysis.ICU
    folding: list[JsonValue] = ["icu_folding"] if icu else ["lowercase", "asciifolding"]
    normalizer: Properties = {LOWERCASE_NORMALIZER: {"type": "custom", "filter": folding}}
    char_filter: Properties = {}
    for enum in _ranked_enums(mapping.fields):
        name = _enum_sort_name(enum)
        char_filter[name] = {"type": "mapping", "mappings": _rank_rules(enum.variants)}
        normalizer[name] = {"type": "custom", "char_filter": [name], "filter": []}
    analysis: Properties = {
        "analyzer": {
            CODE_ANALYZER: {
                "type": "custom",
                "tokenizer": "whitespace",
                "filter": ["flusso_word_delimiter", "flatten_graph", *folding],
            },
            TEXT_ANALYZER: {
                "type": "custom",
                "tokenizer": "icu_tokenizer" if icu else "standard",
                "filter": folding,
            },
        },
        "filter": {
            "flusso_word_delimiter": {
                "type": "word_delimiter_graph",
                "catenate_all": True,
                "preserve_original": True,
            }
        },
        "normalizer": normalizer,
    }
    if char_filter:
        analysis["char_filter"] = char_filter
    return analysis


def _properties(fields: Sequence[MappedField], *, auto_subfields: bool) -> Properties:
    return {field.name: _property(field, auto_subfields=auto_subfields) for field in fields}


def _property(field: MappedField, *, auto_subfields: bool) -> Properties:
    base = _base(field, auto_subfields=auto_subfields)
    if field.fields:
        base["properties"] = _properties(field.fields, auto_subfields=auto_subfields)
    return _with_options(base, field.options)


def _with_options(base: Properties, options: Mapping[str, JsonValue]) -> Properties:
    """What the schema's `options` make of it: they add and they win.

    One that changes the type stands alone, because the parameters of one type are errors on
    another; subfields are joined by name.
    """
    if "type" in options and options["type"] != base.get("type", "object"):
        kept = {"properties": base["properties"]} if "properties" in base else {}
        return {**kept, **options}
    merged = {**base, **options}
    own, given = base.get("fields"), options.get("fields")
    if isinstance(own, Mapping) and isinstance(given, Mapping):
        merged["fields"] = {**own, **given}
    return merged


def _base(field: MappedField, *, auto_subfields: bool) -> Properties:
    kind = field.type
    if kind in _KEYWORDS:
        return _keyword(field, auto_subfields=auto_subfields)
    if kind in _TEXTS:
        return _text(kind, auto_subfields=auto_subfields)
    if kind is FieldType.CUSTOM:
        return {"type": field.custom or "keyword"}
    return dict(_PLAIN.get(kind, {"type": kind.value}))


def _lowercase_subfield() -> Properties:
    return {
        "type": "keyword",
        "normalizer": LOWERCASE_NORMALIZER,
        "ignore_above": SUBFIELD_IGNORE_ABOVE,
    }


def _text(kind: FieldType, *, auto_subfields: bool) -> Properties:
    text: Properties = {"type": "text"}
    # Without subfields a plain text is left to the server's own analyzer, as it always was.
    if auto_subfields or kind is FieldType.IDENTIFIER:
        text["analyzer"] = _TEXTS[kind]
    if auto_subfields:
        text["fields"] = {
            "keyword": {"type": "keyword", "ignore_above": SUBFIELD_IGNORE_ABOVE},
            "keyword_lowercase": _lowercase_subfield(),
        }
    return text


def _keyword(field: MappedField, *, auto_subfields: bool) -> Properties:
    subfields: Properties = {}
    if auto_subfields:
        subfields["text"] = {"type": "text", "analyzer": CODE_ANALYZER}
        subfields["keyword_lowercase"] = _lowercase_subfield()
    if field.variants:
        subfields["sort"] = {
            "type": "keyword",
            "normalizer": _enum_sort_name(field),
            "ignore_above": SUBFIELD_IGNORE_ABOVE,
        }
    keyword: Properties = {"type": "keyword", "ignore_above": KEYWORD_IGNORE_ABOVE}
    if subfields:
        keyword["fields"] = subfields
    return keyword


def _ranked_enums(fields: Sequence[MappedField]) -> Iterator[MappedField]:
    for field in fields:
        if field.type is FieldType.ENUM and field.variants:
            yield field
        yield from _ranked_enums(field.fields)


def _enum_sort_name(field: MappedField) -> str:
    return ENUM_SORT + field.json_path.replace(".", "__")


def _rank_rules(variants: Sequence[str]) -> list[JsonValue]:
    """Rules that replace each variant by its rank, padded so that text order is rank order."""
    width = len(str(len(variants) - 1))
    rules = [f"{_escape(text)} => {rank:0{width}d}" for rank, text in enumerate(variants)]
    return cast(list[JsonValue], rules)


def _escape(text: str) -> str:
    r"""A rule's left side (mapping char filter): trimmed by the server and split at `=>`, so
    whatever is not plain is written as `\uXXXX`, in UTF-16.
    """
    encoded = text.encode("utf-16-be")
    units = (int.from_bytes(encoded[at : at + 2]) for at in range(0, len(encoded), 2))
    return "".join(
        chr(unit) if unit < 128 and (chr(unit).isalnum() or unit == 95) else f"\\u{unit:04x}"
        for unit in units
    )
