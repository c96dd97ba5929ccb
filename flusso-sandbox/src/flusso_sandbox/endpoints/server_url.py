"""The URL of a server, taken apart without ever being shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from flusso_sandbox.errors import SandboxError


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """What the URL of a server says.

    Attributes:
        scheme: The part before `://`.
        host: Never empty.
        port: None where the URL leaves it to the scheme.
        user: Empty where the URL names none.
        password: Empty where the URL has none; it is not shown by `repr`.
        path: As it stands in the URL.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    password: str = field(repr=False)
    path: str

    @classmethod
    def read(cls, url: str, *, scheme: str, like: str, with_user: bool) -> Self:
        """Takes a URL apart.

        Args:
            url: The URL.
            scheme: A regular expression of the schemes that it may have.
            like: What it must be, with an example, for the error.
            with_user: Whether it must name a user.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        wrong = SandboxError(f"not {like}")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise wrong from None  # its message quotes pieces of the URL
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not host or (with_user and not user) or re.fullmatch(scheme, parts.scheme) is None:
            raise wrong
        return cls(parts.scheme, host, port, user, password, parts.path)


def bracketed(host: str) -> str:
    """The host as URLs have it: an IPv6 address stands in brackets."""
    return f"[{host}]" if ":" in host else host
