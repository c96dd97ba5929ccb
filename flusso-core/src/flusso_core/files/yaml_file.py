"""YAML 1.2 as plain data with positions."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from flusso_core.errors import ConfigError
from flusso_core.files.parsed import Mark, ParsedFile, Path, Problem, problems_error
from flusso_core.files.reading import MAX_DEPTH, MAX_NODES, check_plain, check_text, file_error
from flusso_core.model import JsonValue

# ruamel has no annotations: its nodes are `Any` here, told apart by their `id`.
_TAG = "tag:yaml.org,2002:"


def parse_yaml(text: str, origin: str) -> ParsedFile:
    """A YAML document whose root is a mapping, as plain data.

    Only what JSON has too: no tags, no merge keys; keys are strings, and no key comes twice.
    Anchors and aliases work, up to `MAX_NODES` values in all. A date is the string it is written
    as. Unlike YAML 1.1, `no` and `on` are strings.

    Raises:
        ConfigError: for anything else, with its position.
    """
    root = _compose(check_text(text, origin), origin)
    if root is None:
        raise file_error(origin, "the file is empty", Mark(1, 1))
    reader = _Reader()
    data = reader.read(root, (), 0)
    problems = reader.problems + check_plain(data, reader.marks)
    if problems:
        raise problems_error(origin, problems)
    if not isinstance(data, dict):
        raise file_error(origin, "expected a table of keys and values", _mark(root.start_mark))
    return ParsedFile(origin, data, reader.marks)


def _compose(text: str, origin: str) -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False
    _bound(yaml.composer, origin)
    try:
        return yaml.compose(text)
    except MarkedYAMLError as error:
        marked: Any = error
        place = marked.problem_mark or marked.context_mark
        message = _scanner_message(marked)
        raise file_error(origin, message, _mark(place) if place else None) from error
    except ConfigError:
        raise
    # ruamel's scanner raises more on broken text than it documents (ReaderError, IndexError,
    # AttributeError, RecursionError …), and whatever it is, the text is what is wrong.
    except Exception as error:
        place = _position(text, getattr(error, "position", None))
        what = ": a control character" if isinstance(error, ReaderError) else ""
        raise file_error(origin, f"not valid YAML{what}", place) from error


def _bound(composer: Any, origin: str) -> None:
    """Have the composer stop at `MAX_NODES`, as it is slow."""
    compose = composer.compose_node
    left = MAX_NODES

    def counted(parent: Any, index: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            mark = _mark(composer.parser.peek_event().start_mark)
            raise file_error(origin, "too many values", mark)
        return compose(parent, index)

    composer.compose_node = counted


_WORDS = {
    "but found another document": "a file holds one document, and here begins another",
    "mapping values are not allowed here": "a value with a colon in it needs quotes",
    "expected <block end>, but found '<block mapping start>'": (
        "the indentation fits nothing above"
    ),
}
"""What ruamel says of the most frequent mistakes, in other words."""


def _scanner_message(error: Any) -> str:
    problem: str = error.problem or error.context or "not valid YAML"
    if "'\\t'" in problem:
        return "a tab cannot indent; use spaces"
    if problem in _WORDS:
        return f"not valid YAML: {_WORDS[problem]}"
    problem = problem.replace("'<stream end>'", "the end of the file")
    context: str = f" {error.context}" if error.problem and error.context else ""
    start = error.context_mark
    if context and start and start.line != error.problem_mark.line:
        context += f" that begins in line {start.line + 1}"
    return f"not valid YAML: {problem}{context}"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _position(text: str, offset: object) -> Mark | None:
    if not isinstance(offset, int):
        return None
    before = text[:offset]
    return Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


class _Reader:
    """Turns ruamel's nodes into plain values, and notes where they are."""

    def __init__(self) -> None:
        self.marks: dict[Path, Mark] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def read(self, node: Any, path: Path, depth: int) -> JsonValue:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            what = "values" if self._nodes > MAX_NODES else "levels"
            if not any(what in problem.message for problem in self.problems):
                self._problem(f"too many {what}, with aliases counted out", path, node)
            return None
        self.marks.setdefault(path, _mark(node.start_mark))
        if node.id == "mapping" and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if node.id == "sequence" and node.tag == _TAG + "seq":
            return [
                self.read(item, (*path, number), depth + 1)
                for number, item in enumerate(node.value)
            ]
        if node.id == "scalar":
            return self._scalar(node, path)
        self._problem("YAML tags are not supported", path, node)
        return None

    def _mapping(self, node: Any, path: Path, depth: int) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for key, value in node.value:
            name: str | None = _joined(key.value) if key.id == "scalar" else None
            if name is None or key.tag != _TAG + "str":
                merge = "merge keys are not supported"
                self._problem(
                    merge if key.tag == _TAG + "merge" else "a key must be a string", path, key
                )
                continue
            inner = (*path, name)
            if name in found:
                first = self.marks[inner]
                self._problem(f"the key comes twice, first in line {first.line}", inner, key)
                continue
            self.marks[inner] = _mark(key.start_mark)
            found[name] = self.read(value, inner, depth + 1)
        return found

    def _scalar(self, node: Any, path: Path) -> JsonValue:
        text = _joined(node.value)
        match node.tag.removeprefix(_TAG):
            case "str" | "timestamp" | "value" | "merge":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on", "y")
            case "int":
                return _integer(text)
            case "float":
                return _float(text)
            case _:
                self._problem("YAML tags are not supported", path, node)
                return None

    def _problem(self, message: str, path: Path, node: Any) -> None:
        self.problems.append(Problem(message, path, _mark(node.start_mark)))


def _joined(text: str) -> str:
    r"""The text with surrogates joined: JSON writes some characters as two, `\ud83d\ude00`."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _integer(text: str) -> JsonValue:
    digits = text.replace("_", "")
    unsigned = digits.lstrip("+-")
    try:
        if unsigned[:2].lower() in ("0x", "0o", "0b"):
            return int(digits, 0)
        return int(digits)
    except ValueError:  # `+_`, or more digits than Python converts
        return text


def _float(text: str) -> JsonValue:
    special = text.lower().replace(".inf", "inf").replace(".nan", "nan")
    try:
        return float(special.replace("_", ""))
    except ValueError:
        return text
