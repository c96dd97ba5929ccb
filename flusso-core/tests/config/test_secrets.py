from __future__ import annotations

import logging

import pytest
from pydantic import BaseModel

from flusso_core.config import (
    OptionsTable,
    Secret,
    SecretUrl,
    resolve_optional,
    validate_options,
)
from flusso_core.errors import ConfigError

LITERAL = "hunter2"


class Options(BaseModel):
    url: SecretUrl
    password: Secret | None = None
    batch_size: int = 1000


def options(**values: str | int | dict[str, str]) -> Options:
    return validate_options(OptionsTable(values, ("sinks", "primary")), Options)


def test_a_literal_is_itself() -> None:
    assert Secret(LITERAL).resolve(what="x", environ={}) == LITERAL


def test_an_explicit_variable_wins_over_the_reserved_one() -> None:
    environ = {"MINE": "mine", "RESERVED": "reserved"}
    assert Secret(env="MINE").resolve(what="x", reserved="RESERVED", environ=environ) == "mine"


def test_an_explicit_variable_that_is_not_set_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"^x: the environment variable MINE is not set$"):
        Secret(env="MINE").resolve(what="x", reserved="RESERVED", environ={"RESERVED": "r"})


def test_the_reserved_variable_overrides_a_literal_and_says_so_without_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        found = Secret(LITERAL).resolve(what="x", reserved="R", environ={"R": "other"})
    assert found == "other"
    assert caplog.messages == ["x: overridden by the environment variable R"]


def test_an_empty_reserved_variable_overrides_nothing() -> None:
    assert Secret(LITERAL).resolve(what="x", reserved="R", environ={"R": ""}) == LITERAL


def test_an_option_that_is_left_out_may_come_from_the_reserved_variable() -> None:
    assert resolve_optional(None, what="x", reserved="R", environ={"R": "r"}) == "r"
    assert resolve_optional(None, what="x", reserved="R", environ={}) is None


def test_a_literal_never_shows() -> None:
    made = options(url=f"http://me:{LITERAL}@host", password=LITERAL)
    shown = [repr(made), str(made), str(made.model_dump()), made.model_dump_json()]
    shown += [repr(made.password), str(made.password), f"{made.url}"]
    assert not [text for text in shown if LITERAL in text]


def test_a_variable_shows_by_its_name() -> None:
    made = options(url={"env": "URL"})
    assert made.model_dump()["url"] == {"env": "URL"}


@pytest.mark.parametrize(
    "value", [5, {"env": LITERAL, "x": "y"}, {"file": LITERAL}, {"omitted": "true"}]
)
def test_anything_else_is_an_error_that_quotes_nothing(value: int | dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        options(url="http://host", password=value)
    text = 'options: sinks.primary.password: expected a string or { env = "VARIABLE" }'
    assert str(caught.value) == text


def test_a_misspelt_option_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        options(url="http://host", batchsize=3)
    assert str(caught.value) == (
        "options: sinks.primary.batchsize: unknown key; did you mean batch_size?"
    )


def test_a_number_in_quotes_is_no_number() -> None:
    with pytest.raises(
        ConfigError, match=r"sinks\.primary\.batch_size: expected an integer, not a"
    ):
        options(url="http://host", batch_size="3")


@pytest.mark.parametrize(
    ("url", "lockable"),
    [
        ("http://host:9200", True),
        ("https://user@host", True),
        ("https://user:pw@host", False),
        ("postgres://host/db?password=x", False),
        ("host=x password=y", False),
        ("http://[", False),
    ],
)
def test_a_url_is_no_secret_without_a_password(url: str, *, lockable: bool) -> None:
    assert SecretUrl(url).lockable is lockable
    assert not Secret(url).lockable
