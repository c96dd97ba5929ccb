"""Filters: from the file's forms to comparisons and raw conditions."""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.files import Path, Problems, check
from flusso_core.model import JsonValue
from flusso_core.schema.format import FilterModel
from flusso_core.schema.model import Comparison, Filter, Operator, RawFilter, Scalar

_NULL_TESTS = (Operator.IS_NULL, Operator.IS_NOT_NULL)
_LISTS = (Operator.IN, Operator.NOT_IN, Operator.BETWEEN)


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
