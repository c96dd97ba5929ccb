"""Every key of a TOML file has its position, however it is written."""

from __future__ import annotations

import pytest

from flusso_core.errors import ConfigError
from flusso_core.files import parse_toml

TEXT = """\
prefix = "x"
a.b."c d".e = 1
'lit' = 2
é = "not bare, so not valid"
"""

WRITTEN = """\
prefix = "ü"
a.b."c d".e = 1
'lit.eral' = 2
t = { x = 1, y.z = [10, { q = 2 }] } # tail
multi = [
  # a comment
  1,
  [2, 3],
]
text = \"\"\"
[not.a.table]
k = 1
\"\"\"
[source] # head
type = "p"
[source . "deep er".est]
k = 1
[[index]]
name = "a"
  [index.more]
  k = 1
  [[index.sub]]
  k = 1
  [[index.sub]]
  "ü\\u00e9".k = 1
[[index]]
name = "b"
[index.more]
"""

EXPECTED: dict[tuple[str | int, ...], tuple[int, int]] = {
    ("prefix",): (1, 1),
    ("a",): (2, 1),
    ("a", "b"): (2, 3),
    ("a", "b", "c d"): (2, 5),
    ("a", "b", "c d", "e"): (2, 11),
    ("lit.eral",): (3, 1),
    ("t", "x"): (4, 7),
    ("t", "y"): (4, 14),
    ("t", "y", "z"): (4, 16),
    ("t", "y", "z", 0): (4, 21),
    ("t", "y", "z", 1): (4, 25),
    ("t", "y", "z", 1, "q"): (4, 27),
    ("multi", 0): (7, 3),
    ("multi", 1, 1): (8, 7),
    ("source",): (14, 2),
    ("source", "type"): (15, 1),
    ("source", "deep er"): (16, 11),
    ("source", "deep er", "est"): (16, 21),
    ("source", "deep er", "est", "k"): (17, 1),
    ("index",): (18, 3),
    ("index", 0, "name"): (19, 1),
    ("index", 0, "more", "k"): (21, 3),
    ("index", 0, "sub", 0, "k"): (23, 3),
    ("index", 0, "sub", 1, "üé"): (25, 3),
    ("index", 0, "sub", 1, "üé", "k"): (25, 13),
    ("index", 1): (26, 1),
    ("index", 1, "name"): (27, 1),
    ("index", 1, "more"): (28, 8),
}


@pytest.mark.parametrize("path", EXPECTED, ids=str)
def test_a_key_has_its_position(path: tuple[str | int, ...]) -> None:
    assert parse_toml(WRITTEN, "x.toml").marks[path] == EXPECTED[path]


def test_lines_may_end_as_windows_ends_them() -> None:
    marks = parse_toml("\ufeffa = 1\r\n\r\n[b]\r\nc = 2\r\n", "x.toml").marks
    assert marks["b", "c"] == (4, 1)


def test_what_is_not_there_is_placed_at_what_would_hold_it() -> None:
    file = parse_toml(WRITTEN, "x.toml")
    assert file.mark(("index", 1, "schema")) == (26, 1)
    assert file.mark(("batch",)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = \n", "x.toml:1:5: not valid TOML: expected a value; text stands in quotes"),
        ("a = 1\na = 2\n", "x.toml:2:6: not valid TOML: the key of this line comes twice"),
        ("a = 'secret\n", 'x.toml:2:1: not valid TOML: expected "\'"'),
        ("[a", "x.toml:1:3: not valid TOML: expected ']' at the end of a table declaration"),
        ("a = " + "1" * 5000, "x.toml: a number is too long"),
        ("a = " + "[" * 90 + "]" * 90, "x.toml: too many levels"),
        ("a = " + "[" * 9000, "x.toml: too many levels"),
        ("a = inf\n", "x.toml:1:1: a: expected a finite number"),
        ('a = "\\u0000"\n', "x.toml:1:1: a: a string cannot hold a NUL character"),
        ("a = '\ud800'", "x.toml: not UTF-8 text"),
        (TEXT, "x.toml:4:1: not valid TOML: invalid statement"),
    ],
)
def test_what_is_not_toml_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml(text, "x.toml")
    assert str(caught.value) == message


def test_dates_are_their_text() -> None:
    data = parse_toml("a = 2024-05-01\nb = 2024-05-01T10:00:00Z\nc = 10:00:00", "x.toml").data
    assert data == {"a": "2024-05-01", "b": "2024-05-01T10:00:00+00:00", "c": "10:00:00"}
