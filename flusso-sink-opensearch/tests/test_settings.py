"""Settings of an index: from the options, of one index alone, while it is filled and afterwards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from opensearchpy.exceptions import RequestError

from flusso_core.errors import ConfigError, SinkFatal
from flusso_core.hookspecs import SinkContext
from flusso_core.model import FieldType, IndexMapping, MappedField
from flusso_sink_opensearch.client import is_fixed_setting
from flusso_sink_opensearch.definition import Definition
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import create
from flusso_sink_opensearch.settings import SettingsOf, differing, is_fixed

if TYPE_CHECKING:
    from conftest import Bench

USERS = IndexMapping("users", "abc123", (MappedField("name", FieldType.TEXT, "name"),))

URL = "http://127.0.0.1:9200"


def options(**given: Any) -> OpenSearchOptions:
    return OpenSearchOptions.model_validate({"url": URL, **given})


def test_the_settings_of_one_index_win_over_those_of_all() -> None:
    given = options(number_of_replicas=2, settings={"a.b": 1, "c": 2})
    settings = SettingsOf(given, {"users": {"index.c": 3, "number_of_replicas": 1}})
    users, orders = settings.of("users").serving, settings.of("orders").serving
    assert (users["a.b"], users["c"], users["number_of_replicas"]) == (1, 3, 1)
    assert (orders["a.b"], orders["c"], orders["number_of_replicas"]) == (1, 2, 2)


def test_nested_tables_are_the_dotted_names() -> None:
    """TOML writes `settings.mapping.nested_objects.limit = 5` either way."""
    own: Any = {"users": {"mapping": {"nested_objects": {"limit": 5}}, "index": {"codec": "zstd"}}}
    serving = SettingsOf(options(), own).of("users").serving
    assert (serving["mapping.nested_objects.limit"], serving["codec"]) == (5, "zstd")


@pytest.mark.parametrize("own", [{"analysis": {}}, {"index.analysis.analyzer.default": {}}])
def test_analysis_of_one_index_is_refused_by_name(own: Any) -> None:
    context = SinkContext("search", options(), "p_", {"users": own})
    with pytest.raises(ConfigError, match="settings of the index 'users': analysis belongs to"):
        create(context)


def test_what_differs_is_told_as_the_server_spells_it() -> None:
    wanted: dict[str, Any] = {"a": 1, "b": True, "c": "x", "d": ["m", "n"], "e": 2, "f": None}
    found = {"index.a": "1", "index.b": "true", "index.c": "x", "index.d": ["m", "n"]}
    assert list(differing(wanted, found)) == ["e"]
    assert list(differing({"a": 2}, found)) == ["a"]


def test_what_a_new_index_alone_takes_is_told_by_a_digest() -> None:
    """D4: and nothing else moves it."""

    def made_with(own: Any = None, **given: Any) -> str:
        chosen = options(**given)
        return Definition(chosen, SettingsOf(chosen, own or {})).made_with(USERS)

    plain = made_with()
    assert plain == made_with(refresh_interval="3s", number_of_replicas=2, timeout_secs=9)
    assert plain == made_with(settings={"mapping.nested_objects.limit": 7})
    others = [
        made_with(number_of_shards=2),
        made_with({"users": {"number_of_shards": 3}}),
        made_with({"users": {"index": {"codec": "zstd"}}}),
        made_with(auto_subfields=False),
        made_with(text_analysis="icu"),
        made_with(settings={"similarity.default.type": "boolean"}),
    ]
    assert len({plain, *others}) == 7


async def flat(bench: Bench) -> dict[str, Any]:
    found = await bench.raw.indices.get_settings(index=bench.data, params={"flat_settings": "true"})
    settings: dict[str, Any] = found[bench.data]["settings"]
    return settings


@pytest.mark.integration
async def test_copies_are_made_when_the_index_serves_and_not_before(bench: Bench) -> None:
    sink = await bench.users(number_of_replicas=1)
    assert (await flat(bench))["index.number_of_replicas"] == "0"
    await sink.serve_generation(bench.mapping, 1)
    assert (await flat(bench))["index.number_of_replicas"] == "1"


@pytest.mark.integration
@pytest.mark.parametrize("moved", ["none", "settings", "all"])
async def test_a_crash_while_a_generation_begins_to_serve_leaves_no_setting_behind(
    bench: Bench, moved: str
) -> None:
    """The next run ends what the last one began: replicas and refreshes as configured."""
    first = await bench.users(number_of_replicas=1, refresh_interval="7s")
    if moved == "settings":
        body = {"index": {"number_of_replicas": 1, "refresh_interval": "7s"}}
        await bench.raw.indices.put_settings(index=bench.data, body=body)
    elif moved == "all":
        await first.serve_generation(bench.mapping, 1)
        # As a run leaves it whose server forgot what it had been told.
        body = {"index": {"number_of_replicas": 0, "refresh_interval": "-1"}}
        await bench.raw.indices.put_settings(index=bench.data, body=body)
    await first.release()
    second = await bench.users(number_of_replicas=1, refresh_interval="7s")
    if moved != "all":
        assert (await flat(bench))["index.refresh_interval"] == "-1"
        await second.serve_generation(bench.mapping, 1)
    settings = await flat(bench)
    assert settings["index.number_of_replicas"] == "1"
    assert settings["index.refresh_interval"] == "7s"


@pytest.mark.integration
async def test_settings_that_a_live_index_takes_are_updated_in_place(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = await bench.users(settings={"mapping.nested_objects.limit": 77})
    await first.serve_generation(bench.mapping, 1)
    await first.release()
    with caplog.at_level(logging.WARNING):
        await bench.users(
            settings={"mapping.nested_objects.limit": 99, "search.idle.after": "5m"},
            refresh_interval="3s",
        )
    settings = await flat(bench)
    assert settings["index.mapping.nested_objects.limit"] == "99"
    assert settings["index.search.idle.after"] == "5m"
    assert settings["index.refresh_interval"] == "3s"
    assert not caplog.records


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::opensearchpy.exceptions.OpenSearchWarning")  # deprecated ones
async def test_the_settings_that_only_a_new_index_takes_are_known(bench: Bench) -> None:
    """As the server says it of each setting that it has."""
    await bench.raw.indices.create(index=bench.data)
    answer = await bench.raw.indices.get_settings(
        index=bench.data, params={"include_defaults": "true", "flat_settings": "true"}
    )
    found = answer[bench.data]
    refused: set[str] = set()
    for name, value in {**found["defaults"], **found["settings"]}.items():
        try:
            await bench.raw.indices.put_settings(index=bench.data, body={name: value})
        except RequestError as error:
            if is_fixed_setting(error):
                refused.add(name.removeprefix("index."))
    known = {name.removeprefix("index.") for name in (*found["defaults"], *found["settings"])}
    fixed = {name for name in known if is_fixed(name)}
    assert len(fixed) > 20
    assert fixed <= refused


@pytest.mark.integration
async def test_a_setting_that_a_live_index_cannot_take_is_named(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """One that flusso does not know as such, as those of plugins."""
    await (await bench.users()).release()
    with caplog.at_level(logging.WARNING):
        await bench.users(number_of_shards=2, settings={"format": 7})
    assert "cannot be given (format)" in caplog.text


@pytest.mark.integration
async def test_a_setting_that_is_none_is_named(bench: Bench) -> None:
    with pytest.raises(SinkFatal, match=r"creating the index .*unknown setting \[index\.nonsense"):
        await bench.users(settings={"nonsense": 1})


@pytest.mark.integration
async def test_copies_that_the_server_counts_by_itself_are_left_to_it(bench: Bench) -> None:
    sink = await bench.users(settings={"auto_expand_replicas": "0-1"}, number_of_replicas=5)
    await sink.serve_generation(bench.mapping, 1)
    settings = await flat(bench)
    assert settings["index.auto_expand_replicas"] == "0-1"
    assert settings["index.number_of_replicas"] == "0"
