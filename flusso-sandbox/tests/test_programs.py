"""Programs that cannot be unpacked are explained, and leave nothing half-done."""

from __future__ import annotations

from pathlib import Path

import pytest

from flusso_sandbox import DownloadUnavailable
from flusso_sandbox.programs import fetch_programs


def fail(_jar: Path, folder: Path) -> None:
    (folder / "half").write_text("")
    raise OSError("no space left")


@pytest.mark.parametrize(
    ("jar", "reason"), [("server.jar", "no space left"), ("other", "it holds no jar")]
)
def test_a_jar_that_cannot_be_unpacked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jar: str, reason: str
) -> None:
    download, cache = tmp_path / "download", tmp_path / "cache"
    download.mkdir()
    (download / jar).write_text("")

    def fetch(manifest: str, **_: object) -> Path:
        return download

    monkeypatch.setattr("flusso_sandbox.programs.fetch", fetch)
    monkeypatch.setenv("FLUSSO_SANDBOX_CACHE", str(cache))
    with pytest.raises(
        DownloadUnavailable, match=rf"download cannot be unpacked \({reason}\): remove it"
    ):
        fetch_programs("Server", "1", fail, None)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
