"""From a schema to OpenSearch's mapping: recorded ones come out, but for named departures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.model import FieldType, IndexMapping, MappedField
from flusso_core.schema import load_schema, project_mapping
from flusso_sink_opensearch.mapping import TIMESTAMP_FORMAT, index_analysis, index_mappings
from flusso_sink_opensearch.options import TextAnalysis

if TYPE_CHECKING:
    from conftest import Bench

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = {
    True: json.loads((FIXTURES / "recorded-auto-subfields.json").read_text()),
    False: json.loads((FIXTURES / "recorded-no-subfields.json").read_text()),
}
NUMBERS = {"short", "integer", "long", "float", "double", "date"}
TIMESTAMPS = {"at", "createdAt", "firstSale"}


def mapping(index: str) -> IndexMapping:
    return project_mapping(load_schema(FIXTURES / f"{index}.schema.yml", index=index))


def departed(name: str, recorded: dict[str, Any]) -> dict[str, Any]:
    """What flusso makes of a field, from what the Rust program made of it."""
    ours = dict(recorded)
    if ours.get("type") in NUMBERS:
        ours["ignore_malformed"] = True
    if ours.get("type") == "keyword":
        ours["ignore_above"] = 8191
    if name in TIMESTAMPS:
        ours["format"] = TIMESTAMP_FORMAT
    if name == "payload":
        ours["enabled"] = False
    if "properties" in ours:
        ours["properties"] = {key: departed(key, of) for key, of in ours["properties"].items()}
    return ours


def as_the_server_says(settings: object) -> Any:
    """Settings come back as strings."""
    return json.loads(json.dumps(settings).replace(": true", ': "true"'))


@pytest.mark.parametrize("index", ["everything", "small"])
@pytest.mark.parametrize("auto_subfields", [True, False])
def test_recorded_mappings_come_out(index: str, auto_subfields: bool) -> None:
    recorded = RECORDED[auto_subfields][index]["mappings"]
    assert index_mappings(mapping(index), auto_subfields=auto_subfields) == {
        "dynamic": "strict",
        "properties": departed("", recorded)["properties"],
    }


@pytest.mark.parametrize("index", ["everything", "small"])
def test_recorded_analysis_comes_out(index: str) -> None:
    ours = index_analysis(mapping(index), TextAnalysis.BUILTIN)
    assert as_the_server_says(ours) == RECORDED[True][index]["settings"]["analysis"]


@pytest.mark.integration
@pytest.mark.parametrize("index", ["everything", "small"])
@pytest.mark.parametrize("auto_subfields", [True, False])
async def test_the_server_takes_the_mapping_as_it_is(
    bench: Bench, index: str, auto_subfields: bool
) -> None:
    sink = await bench.sink(auto_subfields=auto_subfields, number_of_replicas=1)
    typed = mapping(index)
    await sink.begin_generation(typed, 1)
    await sink.serve_generation(typed, 1)
    recorded = RECORDED[auto_subfields][index]
    name = f"{bench.prefix}{index}_{typed.schema_hash}_1"
    found = (await bench.raw.indices.get_mapping(index=name))[name]["mappings"]
    assert found["dynamic"] == "strict"
    assert found["properties"] == departed("", recorded["mappings"])["properties"]
    settings = (await bench.raw.indices.get_settings(index=name))[name]["settings"]["index"]
    for key, value in recorded["settings"].items():
        assert settings[key] == value


def one(kind: FieldType, *, auto_subfields: bool = True, **given: Any) -> Any:
    field = MappedField("f", kind, "f", **given)
    typed = IndexMapping("i", "h", (field,))
    properties: Any = index_mappings(typed, auto_subfields=auto_subfields)["properties"]
    return properties["f"]


def test_options_add_and_win() -> None:
    given = {"analyzer": "english", "boost": 2}
    assert one(FieldType.TEXT, options=given) == {**one(FieldType.TEXT), **given}
    assert one(FieldType.KEYWORD, options={"ignore_above": 10})["ignore_above"] == 10


def test_subfields_of_the_options_join_the_automatic_ones() -> None:
    extra = {"words": {"type": "text"}, "text": {"type": "text", "analyzer": "english"}}
    fields = one(FieldType.KEYWORD, options={"fields": extra})["fields"]
    assert fields.keys() == {"words", "text", "keyword_lowercase"}
    assert fields["text"]["analyzer"] == "english"


def test_options_that_change_the_type_stand_alone() -> None:
    """The parameters of one type are errors on another."""
    options = {"type": "scaled_float", "scaling_factor": 100}
    assert one(FieldType.TEXT, options=options) == options
    inner = (MappedField("x", FieldType.LONG, "f.x"),)
    nested = one(FieldType.OBJECT, options={"type": "nested"}, fields=inner)
    assert nested == {"type": "nested", "properties": {"x": one(FieldType.LONG)}}


def test_json_can_be_searched_where_the_options_say_so() -> None:
    assert one(FieldType.JSON, options={"type": "flat_object"}) == {"type": "flat_object"}
    enabled = {"enabled": True, "dynamic": True}
    assert one(FieldType.JSON, options=enabled) == {"type": "object", **enabled}


def test_a_field_outside_of_the_fixtures_types_maps_to_its_own_name() -> None:
    assert one(FieldType.BOOLEAN) == {"type": "boolean"}
    assert one(FieldType.BINARY) == {"type": "binary"}
    assert one(FieldType.CUSTOM, custom="ip") == {"type": "ip"}


def test_icu_forms_use_the_plugin() -> None:
    analysis: Any = index_analysis(mapping("everything"), TextAnalysis.ICU)
    assert analysis["analyzer"]["flusso_text"]["tokenizer"] == "icu_tokenizer"
    assert analysis["normalizer"]["flusso_lowercase"]["filter"] == ["icu_folding"]


@pytest.mark.integration
async def test_more_than_ten_variants_of_any_spelling_sort_by_rank(bench: Bench) -> None:
    variants = [
        *("zeta", "alpha beta", "a=>b", "back\\slash", " padded ", "ünï 😀", "a,b", "#7"),
        *("unused", "used", "us", "A", "last"),
    ]
    state = MappedField("state", FieldType.ENUM, "inner.state", variants=tuple(variants))
    inner = MappedField("inner", FieldType.OBJECT, "inner", fields=(state,))
    typed = IndexMapping("enums", "h", (inner,))
    sink = await bench.sink()
    await sink.begin_generation(typed, 1)
    await sink.serve_generation(typed, 1)
    shuffled = sorted(variants, key=lambda text: text[::-1])
    documents = [bench.document(text, 1, {"inner": {"state": text}}) for text in shuffled]
    documents = [item._replace(id=item.id._replace(index="enums")) for item in documents]
    report = await sink.flush(documents, caught_up=True)
    assert report.rejected == ()
    answer = await bench.raw.search(
        index=f"{bench.prefix}enums", body={"sort": ["inner.state.sort"], "size": 100}
    )
    found = [hit["_source"]["inner"]["state"] for hit in answer["hits"]["hits"]]
    assert found == variants
