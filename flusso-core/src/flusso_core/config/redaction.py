"""Options without the literals that are secrets, as a lock file holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr

from flusso_core.config.secrets import OMITTED, Secret
from flusso_core.model import JsonValue

TypeT = TypeVar("TypeT")


def without_secrets(
    values: Mapping[str, JsonValue], models: Sequence[type[BaseModel]]
) -> dict[str, JsonValue]:
    """The table with every literal left out that one of the models takes for a secret.

    A literal of a `Secret` becomes `{"omitted": true}`; one of pydantic's own `SecretStr` goes
    with its key. What no model knows is left out as well: nobody can say that it is no secret.
    """
    return {
        key: kept
        for key, value in values.items()
        if (types := list(_types_of(key, models)))
        for kept in _kept(types, value)
    }


def _types_of(key: str, models: Sequence[type[BaseModel]]) -> Iterator[Any]:
    for model in models:
        for name, info in model.model_fields.items():
            if key in (name, info.alias):
                yield from _members(info.annotation)


def _members(annotation: Any) -> Iterator[Any]:
    """The types that a union consists of, or the one type, without what `Annotated` adds."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        yield from _members(arguments[0])
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _members(argument)
    else:
        yield annotation


def _kept(types: Sequence[Any], value: JsonValue) -> Iterator[JsonValue]:
    """What is left of a value that may be of any of these types: one value, or none."""
    secrets = list(_subclasses(types, Secret))
    if isinstance(value, str):
        if any(_subclasses(types, SecretStr)) or any(_subclasses(types, SecretBytes)):
            return
        safe = all(each(value).lockable for each in secrets)
        yield value if safe else {OMITTED: True}
    elif isinstance(value, Mapping):
        models = list(_subclasses(types, BaseModel))
        if secrets and set(value) == {"env"}:
            yield value
        elif models:
            yield without_secrets(value, models)
        else:
            inner = [each for kind in types for each in _all_members(get_args(kind)[1:])]
            yield {key: kept for key, item in value.items() for kept in _kept(inner, item)}
    elif isinstance(value, Sequence):
        inner = [each for kind in types for each in _all_members(get_args(kind))]
        yield [kept for item in value for kept in _kept(inner, item)]
    else:
        yield value


def _all_members(annotations: Iterable[Any]) -> Iterator[Any]:
    for annotation in annotations:
        yield from _members(annotation)


def _subclasses(types: Iterable[Any], base: type[TypeT]) -> Iterator[type[TypeT]]:
    for each in types:
        if isinstance(each, type) and issubclass(each, base):
            yield each
