"""The guide "Write a sink" shows the code of the example, word for word."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/plugins/flusso-sink-sqlite"
SHOWN = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_what_the_guide_shows_is_the_examples_code() -> None:
    """The example itself is held to the conformance kit by the tests of installed wheels."""
    files = [*EXAMPLE.glob("src/*/*.py"), EXAMPLE / "tests/test_conformance.py"]
    code = _squeezed("\n".join(path.read_text(encoding="utf-8") for path in files))
    shown = SHOWN.findall((ROOT / "docs/how-to/write-a-sink.md").read_text(encoding="utf-8"))
    assert len(shown) >= 10
    for excerpt in shown:
        plain = _squeezed(excerpt).rstrip()
        assert plain in code or textwrap.indent(plain, "    ") in code, excerpt


def _squeezed(code: str) -> str:
    """Without the second of two empty lines, which methods have not and functions have."""
    return re.sub(r"\n{3,}", "\n\n", code)
