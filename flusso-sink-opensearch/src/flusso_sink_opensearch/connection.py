"""Where the cluster is and who asks: secrets resolved, credentials apart from the URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from flusso_core.config import resolve_optional
from flusso_core.errors import ConfigError
from flusso_sink_opensearch.options import OpenSearchOptions

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Connection:
    """A cluster's address and the credentials for it, which do not show in `repr`.

    Attributes:
        sink: the sink's name in the configuration, for messages.
        scheme: `http` or `https`.
        host: name or address, an IPv6 one without brackets.
        port: of that host.
        path: what the paths of requests start with; empty or with a leading slash.
        credentials: user and password.
        headers: sent with every request.
    """

    sink: str
    scheme: str
    host: str
    port: int
    path: str = ""
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def url(self) -> str:
        """The address without any credentials, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def resolve_connection(
    options: OpenSearchOptions, sink: str, environ: Mapping[str, str] | None = None
) -> Connection:
    """The connection that the options and the environment say.

    The reserved variables are `<SINK>_OPENSEARCH_URL`, `_USERNAME` and `_PASSWORD`.

    Args:
        options: the sink's options.
        sink: the sink's name in the configuration.
        environ: the environment; that of the process by default.

    Raises:
        ConfigError: a variable is not set, the URL is not one, or half of the credentials is
            missing. It quotes no value.
    """
    reserved = f"{sink.upper()}_OPENSEARCH"
    path = f"sinks.{sink}"
    url = options.url.resolve(what=f"{path}.url", reserved=f"{reserved}_URL", environ=environ)
    parts = _split(url, f"{path}.url")
    username = resolve_optional(
        options.username,
        what=f"{path}.username",
        reserved=f"{reserved}_USERNAME",
        environ=environ,
    )
    password = resolve_optional(
        options.password,
        what=f"{path}.password",
        reserved=f"{reserved}_PASSWORD",
        environ=environ,
    )
    if username is None and parts.username:
        username = unquote(parts.username)
    if password is None and parts.password is not None:
        password = unquote(parts.password)
    if (username is None) != (password is None):
        missing, given = ("password", "username") if password is None else ("username", "password")
        msg = f"{path}: a {given} is given, but no {missing}"
        raise ConfigError(msg)
    if options.aws_region is not None and username is not None:
        msg = f"{path}: requests are either signed (aws_region) or sent with username and password"
        raise ConfigError(msg)
    credentials = None if username is None or password is None else (username, password)
    headers = {
        name: value.resolve(what=f"{path}.headers.{name}", environ=environ)
        for name, value in options.headers.items()
    }
    return Connection(
        sink=sink,
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        path=parts.path.rstrip("/"),
        credentials=credentials,
        headers=headers,
    )


def _split(url: str, what: str) -> SplitResult:
    expected = "expected a URL like https://host:9200"
    try:
        parts = urlsplit(url.strip())
        # The port is parsed when it is asked for.
        valid = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Its message quotes the URL, which may hold a password.
        msg = f"{what}: {expected}"
        raise ConfigError(msg) from None
    if not valid or parts.query or parts.fragment:
        msg = f"{what}: {expected}"
        raise ConfigError(msg)
    return parts
