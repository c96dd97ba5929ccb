"""Asks a run in another process, through its private surface."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict, ValidationError

from flusso_core.errors import ConfigError, EngineError
from flusso_core.model import JsonValue, Key, StrayKey
from flusso_core.server.app import REALM, credentials
from flusso_core.server.control import IndexAtSink

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
"""For what a run can tell at once. Nothing bounds the other requests: a sink may be away."""

_PIECE = 1000
"""Documents in a request, of the ten thousand that a run takes: keys may be long."""

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # where a run listens


@dataclass(frozen=True, slots=True)
class PrivateAddress:
    """Where a run is asked, and as whom.

    Attributes:
        address: `host:port`.
        user: of the control surface; empty: none is known.
        password: that user's.
    """

    address: str
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Where a request goes; a run that listens everywhere is asked on this machine."""
        host, _, port = self.address.rpartition(":")
        return f"http://{_LOOPBACK.get(host, host)}:{port}"


class _Indexes(BaseModel):
    """The answer to `GET /indexes`."""

    model_config = ConfigDict(extra="ignore")

    prefix: str
    indexes: Mapping[str, Mapping[str, IndexAtSink]]


class _Refusal(BaseModel):
    """What every request that is refused is answered with."""

    error: str


class NobodyListens(EngineError):
    """No process listens at the address of a run's private surface."""


class RunningInstance:
    """A run of this deployment in another process: the `Operations` of `flusso_core.server`.

    Args:
        session: has the address and the password.
        address: for messages.
    """

    def __init__(self, session: ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def indexes(self) -> Mapping[str, Mapping[str, IndexAtSink]]:
        """Index to what is true of it at each sink.

        Raises:
            EngineError: the run does not answer any more.
        """
        return (await self.told()).indexes

    async def told(self) -> _Indexes:
        """Everything that it tells."""
        text = await self._request("GET", "/indexes", timeout=ClientTimeout(_ANSWER_SECONDS))
        try:
            return _Indexes.model_validate_json(text)
        except ValidationError as error:
            raise _no_flusso(self._address) from error

    async def reindex(self, index: str, *, keep_old: bool) -> None:
        """Begin a new generation; returns when that is noted down."""
        await self._request("POST", "/reindex", {"index": index, "keep_old": json.dumps(keep_old)})

    async def rollback(self, index: str, *, keep_current: bool) -> None:
        """Go back to the newest older generation; returns when searches see it."""
        asked = {"index": index, "keep_current": json.dumps(keep_current)}
        await self._request("POST", "/rollback", asked)

    async def sweep(self, index: str) -> None:
        """Read all rows of an index again; returns when that is noted down."""
        await self._request("POST", "/sweep", {"index": index})

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build these documents anew; returns when all of them have landed, or were refused."""
        for at in range(0, len(documents), _PIECE):
            keys: list[list[str]] = []
            ids: list[str] = []
            for one in documents[at : at + _PIECE]:
                if isinstance(one, str | StrayKey):
                    ids.append(one if isinstance(one, str) else one[0])
                else:
                    keys.append(list(one))
            await self._request("POST", "/rebuild", body={"index": index, "keys": keys, "ids": ids})

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, JsonValue] | None = None,
        timeout: ClientTimeout | None = None,
    ) -> str:
        """The text of a good answer.

        Raises:
            EngineError: the run refuses, with its reason; or it does not answer any more.
            ConfigError: it is no run, or not for this user.
        """
        limits = timeout or ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        try:
            async with self._session.request(
                method, path, params=query, json=body, timeout=limits, allow_redirects=False
            ) as answer:
                text = await answer.text()
        except ClientConnectorError as error:
            reason = error.strerror or str(error)
            message = f"the run at {self._address} cannot be asked: {reason}"
            refused = error.errno == errno.ECONNREFUSED
            raise (NobodyListens if refused else EngineError)(message) from error
        except (ClientError, TimeoutError, UnicodeDecodeError) as error:
            message = f"the run at {self._address} does not answer any more: {error!r}"
            raise EngineError(message) from error
        if answer.status < HTTPStatus.BAD_REQUEST:
            return text
        if answer.status == HTTPStatus.UNAUTHORIZED and REALM in answer.headers.get(
            "WWW-Authenticate", ""
        ):
            raise ConfigError(
                f"the run at {self._address} wants its own --admin-user and --admin-password, and "
                "these are not"
            )
        try:
            refusal = _Refusal.model_validate_json(text)
        except ValidationError as error:
            raise _no_flusso(self._address) from error
        raise EngineError(refusal.error)


@asynccontextmanager
async def running_instance(
    where: PrivateAddress, *, prefix: str, indexes: Collection[str]
) -> AsyncGenerator[RunningInstance | None]:
    """The run of this deployment that answers at an address; `None`: nobody listens there.

    Args:
        where: of its private surface.
        prefix: of this deployment's names at the destinations.
        indexes: logical names that it has.

    Raises:
        ConfigError: who listens there is no run, or another deployment's, or wants another
            password.
        EngineError: it does not answer.
    """
    headers: dict[str, str] = {}
    if where.user:
        headers["Authorization"] = credentials(where.user, where.password)
    async with ClientSession(where.url, headers=headers) as session:
        instance = RunningInstance(session, where.address)
        try:
            told = await instance.told()
        except NobodyListens:
            found = None
        else:
            _require_same(told, where.address, prefix, indexes)
            found = instance
        yield found


def _require_same(told: _Indexes, address: str, prefix: str, indexes: Collection[str]) -> None:
    lacking = sorted(set(indexes) - told.indexes.keys())
    if told.prefix == prefix and not lacking:
        return
    if told.prefix != prefix:
        difference = f"its prefix is {told.prefix!r}, and here it is {prefix!r}"
    else:
        known = ", ".join(told.indexes) or "none"
        difference = f"it has no index {', '.join(lacking)} (it has: {known})"
    raise ConfigError(
        f"another deployment runs at {address}: {difference}; name the address of this one's run, "
        "or one where nobody listens, by --private-address"
    )


def _no_flusso(address: str) -> ConfigError:
    return ConfigError(
        f"who listens at {address} is no run of flusso; name the address of one, or one where "
        "nobody listens, by --private-address"
    )
