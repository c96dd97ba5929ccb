"""Options, credentials, and what may show of them."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import pytest
from pydantic import ValidationError

from flusso_core.errors import ConfigError
from flusso_core.hookspecs import SinkContext
from flusso_sink_opensearch.connection import Connection, resolve_connection
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import create, flusso_sink

SECRET = "hunter2"


def options(**given: Any) -> OpenSearchOptions:
    return OpenSearchOptions.model_validate({"url": "http://127.0.0.1:9200", **given})


def resolved(environ: dict[str, str] | None = None, **given: Any) -> Connection:
    return resolve_connection(options(**given), "primary", environ or {})


def test_the_defaults_are_those_of_the_format() -> None:
    """`formats.md`: what a file of the Rust program leaves out means the same here."""
    given = options()
    assert (given.batch_size, given.max_bytes, given.timeout_secs) == (1000, 10485760, 30)
    assert (given.max_retries, given.pipeline, given.tls_verify) == (3, None, True)
    assert (given.number_of_shards, given.number_of_replicas) == (1, 1)
    assert (given.refresh_interval, given.text_analysis, given.auto_subfields) == (
        "10s",
        "builtin",
        True,
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"urll": "x"}, "Extra inputs"),
        ({"refresh_interval": "often"}, "should match pattern"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"aws_service": "es"}, "aws_service needs aws_region"),
        ({"settings": {"index.refresh_interval": "1s"}}, "refresh_interval is an option"),
        ({"settings": {"analysis": {}}}, "analysis belongs to flusso"),
        ({"client_key": "key.pem"}, "client_key needs client_cert"),
        ({"text_analysis": "ICU"}, "'builtin' or 'icu'"),
    ],
)
def test_what_has_no_effect_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**given)


def test_credentials_leave_the_url() -> None:
    connection = resolved(url=f"https://us%40er:{SECRET}%21@search.example:9243/path/")
    assert connection.url == "https://search.example:9243/path"
    assert connection.credentials == ("us@er", f"{SECRET}!")
    assert SECRET not in repr(connection)


def test_options_win_over_the_credentials_of_the_url() -> None:
    connection = resolved(url="http://a:b@h:1", username="user", password="pass")
    assert connection.credentials == ("user", "pass")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h", "http://h:80"),
        ("https://h", "https://h:443"),
        ("http://[::1]:9200", "http://[::1]:9200"),
    ],
)
def test_an_address_is_understood(url: str, shown: str) -> None:
    assert resolved(url=url).url == shown


@pytest.mark.parametrize(
    "url",
    [
        f"localhost:9200/{SECRET}",
        f"ftp://x:{SECRET}@h",
        f"http://x:{SECRET}@h:port",
        f"http://h:0/{SECRET}",
        f"http://h?{SECRET}",
        f"http://[{SECRET}",
        "",
    ],
)
def test_a_url_that_is_none_is_named_and_not_quoted(url: str) -> None:
    """R4."""
    with pytest.raises(ConfigError, match=r"sinks\.primary\.url: expected a URL") as caught:
        resolved(url=url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_half_of_the_credentials_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"sinks\.primary: a username is given, but no password"):
        resolved(username="user")


def test_the_reserved_variables_override_literals_only() -> None:
    environ = {
        "PRIMARY_OPENSEARCH_URL": "http://reserved:1",
        "PRIMARY_OPENSEARCH_USERNAME": "reserved",
        "PRIMARY_OPENSEARCH_PASSWORD": SECRET,
        "MY_PASSWORD": "explicit",
    }
    connection = resolved(environ, username="literal", password={"env": "MY_PASSWORD"})
    assert connection.url == "http://reserved:1"
    assert connection.credentials == ("reserved", "explicit")


def test_headers_may_be_secrets() -> None:
    environ = {"KEY": SECRET}
    connection = resolved(environ, headers={"Authorization": {"env": "KEY"}})
    assert connection.headers == {"Authorization": SECRET}
    assert SECRET not in repr(connection)


def test_no_secret_shows_in_options_or_sink() -> None:
    """R4."""
    given = options(url=f"http://u:{SECRET}@h", password=SECRET, headers={"x": SECRET})
    assert SECRET not in repr(given)
    assert SECRET not in given.model_dump_json()
    sink = create(SinkContext(name="primary", options=given, prefix="p_"))
    assert SECRET not in repr(sink)
    assert repr(sink) == "OpenSearchSink('http://h:80', prefix='p_')"


def test_the_plugin_registers_its_type() -> None:
    plugin = flusso_sink()
    assert (plugin.name, plugin.options) == ("opensearch", OpenSearchOptions)


def test_registering_imports_no_driver() -> None:
    code = (
        "import sys, flusso_sink_opensearch.plugin as p; p.flusso_sink(); "
        "print([m for m in ('opensearchpy', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_certificates_that_cannot_be_read_are_named() -> None:
    from flusso_sink_opensearch.client import create_client

    given = options(url="https://h", ca_file="/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"sinks\.primary: the certificates of ca_file"):
        create_client(resolve_connection(given, "primary", {}), given, connections=1)
