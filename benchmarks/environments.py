"""flusso of another commit, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.programs import Flusso

ROOT = Path(__file__).parent.parent


@contextmanager
def flusso_of(ref: str) -> Generator[Flusso]:
    """Check a commit out beside this tree, install it as its lock file says, and give its command.

    Raises:
        subprocess.CalledProcessError: there is no such commit, or it cannot be installed; the
            command has said why.
    """
    with tempfile.TemporaryDirectory(prefix="flusso-base-") as folder:
        tree = Path(folder) / "tree"
        _run(["git", "worktree", "add", "--quiet", "--detach", str(tree), ref], ROOT)
        try:
            _run(
                [
                    *("sh", "tools/uv", "sync", "--locked", "--quiet"),
                    *("--all-packages", "--all-extras", "--no-default-groups"),
                ],
                tree,
            )
            yield Flusso(tree / ".venv" / "bin" / "flusso", name=ref)
        finally:
            _run(["git", "worktree", "remove", "--force", str(tree)], ROOT)


def _run(command: list[str], folder: Path) -> None:
    # These would have uv install into the environment that runs this.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    }
    subprocess.run(command, cwd=folder, env=environment, check=True)
