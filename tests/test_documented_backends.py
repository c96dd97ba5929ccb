"""Backends that the how-to pages show in full pass the conformance kit as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parent.parent / "docs" / "how-to"


@pytest.mark.parametrize("page", ["write-a-queue", "write-a-source"])
def test_the_backend_of_the_page_passes_the_kit(page: str, tmp_path: Path) -> None:
    """Just the page's code, in a project of its own whose pytest has no configuration."""
    text = (GUIDES / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "test_documented.py").write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_documented.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
