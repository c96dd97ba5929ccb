"""A plugin's options model as something to read: name, type, default and help of each option."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ForwardRef,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    PydanticSchemaGenerationError,
    PydanticUserError,
    SecretStr,
    TypeAdapter,
)
from pydantic_core import PydanticSerializationError, PydanticUndefined

from flusso_core.config import Secret

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from flusso_core.model import JsonValue

REFERENCE = '{ env = "VARIABLE" }'
"""How the type of an option that may be read from a variable is told."""

_NAMES: Mapping[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "none",
}


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option of a plugin.

    Attributes:
        name: its key in the configuration.
        type: what it takes, in words.
        required: whether it must be given.
        default: what it is when left out, as JSON.
        help: what it does.
    """

    name: str
    type: str
    required: bool
    default: JsonValue
    help: str

    @property
    def default_text(self) -> str:
        """The default as the configuration would write it."""
        return "" if self.default is None else json.dumps(self.default, ensure_ascii=False)

    def as_json(self) -> dict[str, JsonValue]:
        """As `flusso plugins show --format json` prints it."""
        return {
            "name": self.name,
            "type": self.type,
            "required": self.required,
            "default": self.default,
            "help": self.help,
        }


def describe(model: type[BaseModel]) -> Sequence[OptionInfo]:
    """The options of a plugin, in the model's order."""
    return [
        OptionInfo(
            name=field.alias or name,
            type=type_text(field.annotation),
            required=field.is_required(),
            default=_default(field),
            help=field.description or "",
        )
        for name, field in model.model_fields.items()
    ]


def _default(field: FieldInfo) -> JsonValue:
    if field.default_factory is not None and not field.default_factory_takes_validated_data:
        value = field.get_default(call_default_factory=True)
    else:
        value = field.default
    if value is PydanticUndefined or value is ...:
        return None
    # By the field's own type: a `Secret` is asterisks, whatever it holds.
    annotation = cast("type[object]", field.annotation)
    try:
        dumped = TypeAdapter[object](annotation).dump_python(value, mode="json")
    except (PydanticUserError, PydanticSchemaGenerationError, PydanticSerializationError):
        return str(value)
    return cast("JsonValue", dumped)


def type_text(annotation: Any) -> str:
    """A type in words: `string`, `"a" | "b"`, `list of integer`."""
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, UnionType):
        texts = (type_text(each) for each in arguments if each is not NoneType)
        return " | ".join(dict.fromkeys(texts))
    if origin is Literal:
        return " | ".join(json.dumps(each) for each in arguments)
    if origin in (list, tuple, set, frozenset) or origin is Sequence:
        return f"list of {type_text(arguments[0])}" if arguments else "list"
    if origin in (dict, Mapping):
        return "table"
    if isinstance(annotation, type):
        return _class_text(annotation)
    if isinstance(annotation, ForwardRef):  # a recursive type, such as any JSON
        outer = annotation.__forward_arg__.partition("[")[0]
        return {"dict": "table", "Mapping": "table", "list": "list"}.get(outer, "any value")
    return str(annotation)


def _class_text(annotation: type) -> str:
    if issubclass(annotation, Secret):
        return f"string | {REFERENCE}"
    if issubclass(annotation, Enum):
        return " | ".join(json.dumps(member.value) for member in annotation)
    if issubclass(annotation, SecretStr):
        return "string"
    if issubclass(annotation, BaseModel):
        return f"{{ {', '.join(annotation.model_fields)} }}"
    return annotation.__name__
