"""Filters: their forms in a file, and how these become comparisons and raw conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic import JsonValue as PydanticJson

from flusso_core.files import Path, Problems, check, unknown
from flusso_core.model import JsonValue
from flusso_core.schema.format import Model
from flusso_core.schema.model import Comparison, Filter, Operator, RawFilter, Scalar
from flusso_core.schema.names import Identifier, name_error

_NULL_TESTS = (Operator.IS_NULL, Operator.IS_NOT_NULL)
_LISTS = (Operator.IN, Operator.NOT_IN, Operator.BETWEEN)

_MEANT = {
    **dict.fromkeys(("=", "==", "equal", "equals", "is"), "eq"),
    **dict.fromkeys(("!=", "<>", "ne", "not", "not_eq", "not_equals"), "neq"),
    **dict.fromkeys(("<", "less_than"), "lt"),
    **dict.fromkeys(("<=", "le"), "lte"),
    **dict.fromkeys((">", "greater_than"), "gt"),
    **dict.fromkeys((">=", "ge"), "gte"),
    **dict.fromkeys(("null", "isnull", "is null"), "is_null"),
    **dict.fromkeys(("not_null", "notnull", "exists", "is not null"), "is_not_null"),
    "not in": "not_in",
}
"""What other languages call the operators."""

_VALUE: PydanticJson = {"type": ["string", "number", "boolean"]}


def _form(operators: Sequence[Operator], value: PydanticJson) -> PydanticJson:
    return {
        "required": ["column", "op", "value"],
        "properties": {"op": {"enum": [each.value for each in operators]}, "value": value},
    }


_FORMS: list[PydanticJson] = [
    {"required": ["raw"], "maxProperties": 1, "properties": {"raw": {"pattern": r"\S"}}},
    {
        "required": ["column", "op"],
        "maxProperties": 2,
        "properties": {"op": {"enum": [each.value for each in _NULL_TESTS]}},
    },
    _form([each for each in Operator if each not in (*_NULL_TESTS, *_LISTS)], _VALUE),
    _form([Operator.IN, Operator.NOT_IN], {"type": "array", "items": _VALUE, "minItems": 1}),
    _form([Operator.BETWEEN], {"type": "array", "items": _VALUE, "minItems": 2, "maxItems": 2}),
]


def _operator(value: object) -> object:
    if isinstance(value, str) and value not in set(Operator):
        raise name_error(unknown("operator", value, [each.value for each in Operator], _MEANT))
    return value


class FilterModel(Model):
    """A condition on a row: raw, or column and op, or column, op and value."""

    model_config = ConfigDict(
        title="Filter",
        json_schema_extra={
            "oneOf": _FORMS,
            "examples": [
                {"column": "deleted_at", "op": "is_null"},
                {"column": "status", "op": "in", "value": ["paid", "shipped"]},
                {"raw": "price > 0"},
            ],
        },
    )

    raw: str | None = Field(
        None, description="A condition in the database's own SQL, over the row's own columns."
    )
    column: Identifier | None = Field(None, description="The column that is compared.")
    op: Annotated[Operator, BeforeValidator(_operator)] | None = Field(
        None, description="How it is compared."
    )
    value: PydanticJson = Field(
        None, description="With what: a list for in and not_in, two values for between."
    )


def read_filters(values: JsonValue, problems: Problems, path: Path) -> tuple[Filter, ...]:
    """The filters of a list in the file; what is wrong goes to `problems`."""
    if values is None:
        return ()
    if not isinstance(values, list):
        problems.add(path, "expected a list")
        return ()
    found: list[Filter] = []
    for number, value in enumerate(values):
        place = (*path, number)
        model = check(FilterModel, value, problems, place)
        lowered = None if model is None else lower_filter(model, problems, place)
        if lowered is not None:
            found.append(lowered)
    return tuple(found)


def lower_filter(model: FilterModel, problems: Problems, path: Path) -> Filter | None:
    """`{ raw }`, `{ column, op }` or `{ column, op, value }`."""
    given = model.model_fields_set
    if "raw" in given:
        if given != {"raw"}:
            problems.add(path, "raw stands alone in a filter")
        elif not model.raw or not model.raw.strip():
            problems.add((*path, "raw"), "expected a condition in SQL")
        else:
            return RawFilter(model.raw)
        return None
    if model.column is None or model.op is None:
        missing = "column" if model.column is None else "op"
        problems.add((*path, missing), "required, but missing")
        return None
    values = _values(model.op, model.value, problems, path, given="value" in given)
    return None if values is None else Comparison(model.column, model.op, values)


def _values(
    op: Operator, value: JsonValue, problems: Problems, path: Path, *, given: bool
) -> tuple[Scalar, ...] | None:
    where = (*path, "value")
    if op in _NULL_TESTS:
        if not given:
            return ()
        problems.add(where, f"{op} takes no value")
        return None
    if not given:
        problems.add(where, "required, but missing")
        return None
    if op not in _LISTS:
        return _scalars([value], f"{op} takes one value, not null and no list", problems, where)
    if not isinstance(value, list) or not value or (op is Operator.BETWEEN and len(value) != 2):
        many = "exactly two values" if op is Operator.BETWEEN else "one value or more"
        problems.add(where, f"{op} takes a list of {many}")
        return None
    return _scalars(value, f"{op} takes a list of values, none of them null", problems, where)


def _scalars(
    values: Sequence[JsonValue], message: str, problems: Problems, path: Path
) -> tuple[Scalar, ...] | None:
    found = tuple(value for value in values if isinstance(value, (bool, int, float, str)))
    if len(found) == len(values):
        return found
    problems.add(path, message)
    return None
