"""From pydantic's errors to errors that point into a file and quote no value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from flusso_core.files.parsed import ParsedFile, Path, Problems
from flusso_core.model import JsonValue

ModelT = TypeVar("ModelT", bound=BaseModel)

_MESSAGES = {
    "bool": "expected true or false",
    "int": "expected an integer",
    "float": "expected a number",
    "decimal": "expected a number",
    "string": "expected a string",
    "list": "expected a list",
    "tuple": "expected a list",
    "set": "expected a list",
    "frozen_set": "expected a list",
    "dict": "expected a table of keys and values",
    "mapping": "expected a table of keys and values",
    "model": "expected a table of keys and values",
    "none": "expected nothing",
    "url": "expected a URL",
}
"""What was expected, by the first word of pydantic's error types (`int_type`, `int_parsing` …)."""

_COMPARISONS = {
    "greater_than": "above",
    "greater_than_equal": "of at least",
    "less_than": "below",
    "less_than_equal": "of at most",
}


def validate(
    model: type[ModelT],
    values: JsonValue,
    *,
    file: ParsedFile,
    path: Path = (),
    context: Mapping[str, Any] | None = None,
    also_known: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
) -> ModelT:
    """Plain values as a model; unknown keys are errors unless the model allows them.

    Args:
        model: what the values should be.
        values: of the file, as its parser gave them; strictly typed, as JSON is.
        file: for positions and the file's name.
        path: where in the file the values are.
        context: for the model's own validators.
        also_known: further valid keys of this table, to suggest for a misspelt one.
        origins: by key of this table, where a value comes from that is not of the file.

    Raises:
        ConfigError: with one line for each problem.
    """
    problems = Problems(file)
    found = check(
        model, values, problems, path, context=context, also_known=also_known, origins=origins
    )
    problems.raise_any()
    return cast(ModelT, found)


def check(
    model: type[ModelT],
    values: JsonValue,
    problems: Problems,
    path: Path,
    *,
    context: Mapping[str, Any] | None = None,
    also_known: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
) -> ModelT | None:
    """As `validate`, but what is wrong goes to `problems`, and then there is no model."""
    allows_more = model.model_config.get("extra") == "allow"
    text = json.dumps(values, default=str)
    try:
        return model.model_validate_json(
            text, strict=True, extra=None if allows_more else "forbid", context=context
        )
    except ValidationError as error:
        # pydantic's own text quotes the input, which may be a secret: it is not passed on.
        found = error.errors(include_url=False, include_input=False)
    for place, item in _deepest(found, values):
        message = _message(item, model, also_known, _at(values, place))
        origin = (origins or {}).get(str(place[0])) if place else None
        problems.add(path + place, message, origin=origin)
    return None


def _deepest(
    errors: Sequence[ErrorDetails], values: JsonValue
) -> Iterator[tuple[Path, ErrorDetails]]:
    """Each error with its path in the data; a union's complaint yields to a more precise one.

    pydantic puts the name of each member of a union into an error's location; no such thing is in
    the data. Of the members' complaints about one value, those about its inside say more.
    """
    placed = [(_data_path(error, values), error) for error in errors]
    for place, error in placed:
        in_union = len(place) < len(error["loc"])
        deeper = any(
            other[: len(place)] == place and len(other) > len(place) for other, _ in placed
        )
        if not (in_union and deeper):
            yield place, error


def _data_path(error: ErrorDetails, values: JsonValue) -> Path:
    location = error["loc"]
    path: list[str | int] = []
    here: JsonValue = values
    for number, part in enumerate(location):
        found, inner = _step(here, part)
        if found:
            here = inner
        elif not (error["type"] == "missing" and number == len(location) - 1):
            continue
        path.append(part)
    return tuple(path)


def _at(value: JsonValue, path: Path) -> JsonValue:
    for part in path:
        _, value = _step(value, part)
    return value


def _step(value: JsonValue, part: str | int) -> tuple[bool, JsonValue]:
    """Whether the value has such a key or element, and what it holds."""
    if isinstance(value, Mapping) and isinstance(part, str) and part in value:
        return True, value[part]
    if isinstance(value, Sequence) and not isinstance(value, str) and isinstance(part, int):
        return (True, value[part]) if part < len(value) else (False, None)
    return False, None


def _message(
    error: ErrorDetails, model: type[BaseModel], also_known: Sequence[str], value: JsonValue
) -> str:
    kind = error["type"]
    context = error.get("ctx", {})
    match kind:
        case "missing":
            return "required, but missing"
        case "extra_forbidden":
            *place, name = error["loc"]
            known = [*_known_keys(model, place), *(also_known if not place else ())]
            return unknown("key", str(name), known)
        case "literal_error" | "enum":
            return _choices(str(context.get("expected", "another value")), value)
        case "value_error" | "assertion_error":
            return str(context.get("error", "not valid"))
        case "string_pattern_mismatch":
            return f"expected a string that matches {context.get('pattern')}"
        case "string_too_short" | "string_too_long":
            bound = context.get("min_length", context.get("max_length"))
            return (
                f"expected at {'least' if 'min_length' in context else 'most'} {bound} characters"
            )
        case "too_short" | "too_long":
            if "min_length" in context:
                return f"expected a list of {context['min_length']} or more"
            return f"expected a list of {context['max_length']} or fewer"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            bound = next(context[key] for key in ("gt", "ge", "lt", "le") if key in context)
            return f"expected a number {_COMPARISONS[kind]} {_figure(bound)}"
        case _:
            ours = _MESSAGES.get(_first_word(kind)) if kind.endswith(_TYPE_ENDINGS) else None
            if ours:
                return _instead(ours, value)
            return error["msg"].removeprefix("Input should be ").rstrip(".")


_TYPE_ENDINGS = ("_type", "_parsing", "_parsing_size", "_from_float", "_sub_type", "_scheme")


def _figure(bound: object) -> str:
    return str(bound).removesuffix(".0")


def _first_word(kind: str) -> str:
    return "frozen_set" if kind.startswith("frozen_set") else kind.split("_", 1)[0]


_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
"""What older YAML, and some people, write for a truth value."""


def _instead(expected: str, value: JsonValue) -> str:
    """What was expected, and what kind of value stands there instead."""
    match value:
        case None:
            found = "an empty value"
        case bool():
            found = "true or false"
        case int():
            found = "an integer"
        case float():
            found = "a number with decimals" if "integer" in expected else "a number"
        case str():
            word = _WORDS.get(value.lower())
            cure = f"; write {word}" if word and expected == _MESSAGES["bool"] else ""
            found = f"a string{cure}"
        case Mapping():
            found = "a table of keys and values"
        case _:
            found = "a list"
    # A number is too large, say: then this says nothing.
    return expected if found in expected else f"{expected}, not {found}"


def _choices(expected: str, value: JsonValue) -> str:
    """What pydantic writes as `'a', 'b' or <Kind.C: 'c'>`, with the nearest one."""
    names = re.findall(r"'([^']*)'", expected)
    if not names:
        return f"expected {expected}"
    near = _nearest(value.strip().lower(), names) if isinstance(value, str) else None
    hint = f"; did you mean {near}?" if near else ""
    return f"expected {' or '.join([', '.join(names[:-1]), names[-1]][len(names) < 2 :])}{hint}"


def unknown(
    what: str, name: str, known: Sequence[str], meant: Mapping[str, str] | None = None
) -> str:
    """That a name is not known, with the nearest valid one, or all of them.

    Args:
        what: what the name is of.
        name: as it is written.
        known: the valid ones.
        meant: what other languages call them.
    """
    plain = name.strip().lower()
    near = (meant or {}).get(plain) or _nearest(plain, known)
    if near:
        return f"unknown {what}; did you mean {near}?"
    if known:
        return f"unknown {what}; expected one of {', '.join(sorted(set(known)))}"
    return f"unknown {what}; there are none here"


def _nearest(name: str, known: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), None)


def _known_keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys that a table at that place of the model may have."""
    models: list[type[BaseModel]] = [model]
    for part in place:
        found = [
            inner
            for outer in models
            for name, info in outer.model_fields.items()
            if part in (name, info.alias)
            for inner in _models_in(info.annotation)
        ]
        # An element's index, or the name of a union's member: the models stay those of the field.
        models = found or [m for m in models if m.__name__ == part] or models
    return [key for found in models for key in _keys(found)]


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield _key(name, info)


def _key(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    if get_origin(annotation) in (Annotated, Union, UnionType, list, tuple, dict):
        for argument in get_args(annotation):
            yield from _models_in(argument)
