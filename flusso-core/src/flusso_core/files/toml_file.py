"""TOML as plain data with positions.

`tomllib` says what a file means but not where; tree-sitter's grammar says where. Positions are
only ever looked up in the syntax tree of a valid file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, cast

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from flusso_core.files.parsed import Mark, ParsedFile, Path, Problem, problems_error
from flusso_core.files.reading import MAX_DEPTH, MAX_NODES, check_plain, check_text, file_error
from flusso_core.model import JsonValue

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((.*)\) twice")
_PART = r"'([^']*)'"
_WORDS = {
    "Cannot overwrite a value": "the key of this line comes twice",
    "Invalid value": "expected a value; text stands in quotes",
    "Illegal character '\\n'": "the line ends before its string does",
}
"""What `tomllib` says, in other words."""

_KEYS = ("bare_key", "quoted_key", "dotted_key")


def parse_toml(text: str, origin: str) -> ParsedFile:
    """A TOML file as plain data. Dates and times are strings, as ISO 8601 writes them.

    Raises:
        ConfigError: it is not TOML, with the position.
    """
    text = check_text(text, origin)
    tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
    # Before tomllib, which takes a time that grows with the square of a key's parts.
    deep = _too_deep_key(tree.root_node)
    if deep is not None:
        raise file_error(origin, "too many levels", Mark(deep.start_point[0] + 1, 1))
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, origin, str(error)) from error
    except RecursionError as error:
        raise file_error(origin, "too many levels") from error
    except ValueError as error:  # more digits than Python converts
        raise file_error(origin, "a number is too long") from error
    excess = _excess(raw)
    if excess:
        raise file_error(origin, f"too many {excess}")
    data = cast(dict[str, JsonValue], _plain(raw))
    marks = _Locator(text, tree.root_node).marks
    problems: list[Problem] = check_plain(data, marks)
    if problems:
        raise problems_error(origin, problems)
    return ParsedFile(origin, data, marks)


def _syntax_error(text: str, origin: str, message: str) -> Exception:
    found = _PLACE.search(message)
    mark: Mark | None = None
    if found:
        line, column = found.groups()
        lines = text.split("\n")
        mark = Mark(int(line), int(column)) if line else Mark(len(lines), len(lines[-1]) + 1)
    what = _PLACE.sub("", message)
    twice = _TWICE.match(what)
    if twice:
        what = f"the table {'.'.join(re.findall(_PART, twice[1]))} comes twice"
    what = _WORDS.get(what, f"{what[:1].lower()}{what[1:]}")
    return file_error(origin, f"not valid TOML: {what}", mark)


def _too_deep_key(root: Node) -> Node | None:
    """A dotted key of more parts than tables may be in each other."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type != "dotted_key":
            waiting += node.named_children
            continue
        first, parts = node, 1
        while first.type == "dotted_key" and parts <= MAX_DEPTH:
            first, parts = first.named_children[0], parts + 1
        if parts > MAX_DEPTH:
            return node
    return None


def _excess(value: Any) -> str | None:
    """What there is too much of, if anything."""
    count = 0
    waiting = [(value, 1)]
    while waiting:
        here, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            return "levels"
        if count > MAX_NODES:
            return "values"
        if isinstance(here, dict):
            waiting += [(inner, depth + 1) for inner in cast(dict[str, Any], here).values()]
        elif isinstance(here, list):
            waiting += [(inner, depth + 1) for inner in cast(Sequence[Any], here)]
    return None


def _plain(value: Any) -> JsonValue:
    match value:
        case dict():
            table = cast(Mapping[str, Any], value)
            return {key: _plain(inner) for key, inner in table.items()}
        case list():
            return [_plain(inner) for inner in cast(Sequence[Any], value)]
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return cast(JsonValue, value)


class _Locator:
    """Where each key and each element of a list begins."""

    def __init__(self, text: str, document: Node) -> None:
        self.marks: dict[Path, Mark] = {(): Mark(1, 1)}
        # tree-sitter counts bytes: of the lines where these are not characters.
        lines = enumerate(text.encode().split(b"\n"))
        self._wide = {number: line for number, line in lines if not line.isascii()}
        # Of each array of tables: the index of the element that is being written.
        self._current: dict[Path, int] = {}
        self._document(document)

    def _document(self, document: Node) -> None:
        for node in document.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element"):
                base = self._header(node)
                for pair in node.named_children:
                    if pair.type == "pair":
                        self._pair(pair, base)

    def _header(self, node: Node) -> Path:
        path: Path = ()
        names = list(self._names(_key_of(node)))
        for number, (name, key) in enumerate(names, 1):
            path = (*path, name)
            self.marks.setdefault(path, self._mark(key))
            if number == len(names) and node.type == "table_array_element":
                self._current[path] = self._current.get(path, -1) + 1
            if path in self._current:
                path = (*path, self._current[path])
                self.marks.setdefault(path, self._mark(node))
        return path

    def _pair(self, node: Node, base: Path) -> None:
        path = base
        for name, key in self._names(_key_of(node)):
            path = (*path, name)
            self.marks.setdefault(path, self._mark(key))
        # A comment behind an inline table is inside the pair's node.
        self._value(_uncommented(node)[-1], path)

    def _value(self, node: Node, path: Path) -> None:
        if node.type == "inline_table":
            for pair in node.named_children:
                if pair.type == "pair":
                    self._pair(pair, path)
        elif node.type == "array":
            for number, element in enumerate(_uncommented(node)):
                inner = (*path, number)
                self.marks[inner] = self._mark(element)
                self._value(element, inner)

    def _names(self, key: Node) -> Iterator[tuple[str, Node]]:
        if key.type == "dotted_key":
            for part in key.named_children:
                yield from self._names(part)
        else:
            written = (key.text or b"").decode()
            name = written if key.type == "bare_key" else next(iter(tomllib.loads(f"{written}=0")))
            yield name, key

    def _mark(self, node: Node) -> Mark:
        row, column = node.start_point
        if row in self._wide:
            column = len(self._wide[row][:column].decode())
        return Mark(row + 1, column + 1)


def _key_of(node: Node) -> Node:
    return next(child for child in node.named_children if child.type in _KEYS)


def _uncommented(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]
