"""What a cluster would refuse of an index, found on the real server without making anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.hookspecs import SinkContext
from flusso_core.model import FieldType, IndexMapping, MappedField, Severity
from flusso_core.schema import parse_schema, project_mapping
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import flusso_sink

if TYPE_CHECKING:
    from conftest import Bench

REFUSED = """
version: 1
table: users
fields:
  - keyword: id
  - text: name
    options: { analyzer: klingon }
  - enum: tier
    variants: [low, high]
  - object: address
    fields:
      - keyword: city
      - custom: place
        postgres: [point]
        opensearch: geopoint
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields:
      - long: total
        options: { bogus: 1 }
      - long: number
"""


def mapping_of(text: str) -> IndexMapping:
    return project_mapping(parse_schema(text, index="users", origin="users.schema.yml"))


@pytest.mark.integration
async def test_each_field_that_the_cluster_refuses_is_named(bench: Bench) -> None:
    sink = await bench.sink(acquire=False)
    found = await sink.check_index(mapping_of(REFUSED))
    assert {finding.subject for finding in found} == {"index 'users'"}
    assert {finding.severity for finding in found} == {Severity.ERROR}
    messages = [finding.message for finding in found]
    for path, why in (
        ("name", "analyzer [klingon] has not been configured"),
        ("address.place", "No handler for type [geopoint]"),
        ("orders.total", "unknown parameter [bogus]"),
    ):
        [message] = [one for one in messages if f"the field {path}:" in one]
        assert why in message
    assert len(found) == 3


@pytest.mark.integration
async def test_what_is_wrong_with_the_whole_is_told_of_the_index(bench: Bench) -> None:
    fields = tuple(
        MappedField(f"f{number}", FieldType.BOOLEAN, f"f{number}") for number in range(1001)
    )
    wide = IndexMapping("users", "abc", fields)
    sink = await bench.sink(acquire=False)
    [finding] = await sink.check_index(wide)
    assert "Limit of total fields [1000] has been exceeded" in finding.message
    assert "settings" in str(finding.cure)
    roomy = await bench.sink(acquire=False, settings={"mapping.total_fields.limit": 2000})
    assert await roomy.check_index(wide) == []
    odd = await bench.sink(acquire=False, settings={"no_such_setting": 1})
    [finding] = await odd.check_index(bench.mapping)
    assert "unknown setting [index.no_such_setting]" in finding.message


@pytest.mark.integration
async def test_a_trial_leaves_nothing_behind(bench: Bench) -> None:
    sink = await bench.sink(acquire=False)
    assert await sink.check_index(bench.mapping) == []
    assert await bench.raw.indices.get_alias(index=f"{bench.prefix}*") == {}
    templates = await bench.raw.indices.get_index_template()
    assert not any(
        bench.prefix in str(template["index_template"]["index_patterns"])
        for template in templates["index_templates"]
    )


@pytest.mark.integration
async def test_what_is_described_is_what_is_made(bench: Bench) -> None:
    """`flusso mapping` prints what the server has once the index serves."""
    options = OpenSearchOptions.model_validate(
        {"url": {"env": "NOT_SET"}, "number_of_replicas": 0, "refresh_interval": "7s"}
    )
    describe = flusso_sink().describe
    assert describe is not None
    told: Any = describe(SinkContext("search", options, bench.prefix), bench.mapping)
    sink = await bench.sink(refresh_interval="7s")
    await sink.begin_generation(bench.mapping, 1)
    await sink.serve_generation(bench.mapping, 1)
    made = (await bench.raw.indices.get(index=told["index"]))[told["index"]]
    assert told["aliases"].keys() <= made["aliases"].keys()
    assert made["mappings"]["properties"] == told["mappings"]["properties"]
    assert made["settings"]["index"]["refresh_interval"] == "7s"
    assert made["settings"]["index"]["analysis"]["analyzer"].keys() == (
        told["settings"]["index"]["analysis"]["analyzer"].keys()
    )
