"""Values that may be secret: written out, or named by an environment variable."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from flusso_core.errors import ConfigError

_log = logging.getLogger(__name__)

REDACTED = "********"
OMITTED = "omitted"
"""The key by which a lock file says that it left a literal out."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A connection string, a user or a password: a literal, or `{ env = "VAR" }`.

    A type for fields of a plugin's options model. The literal never shows: not in `repr`, not in
    `str`, not in `model_dump`, not in an error.

    ```python
    class Options(BaseModel):
        url: Secret
        password: Secret | None = None

    url = options.url.resolve(reserved="SEARCH_OPENSEARCH_URL", what="sinks.search.url")
    password = resolve_optional(
        options.password, reserved="SEARCH_OPENSEARCH_PASSWORD", what="sinks.search.password"
    )
    ```

    Attributes:
        literal: the value as the file gives it.
        env: the environment variable that holds it instead. Both `None`: a lock file left the
            literal out.
    """

    literal: str | None = field(default=None, repr=False)
    env: str | None = None

    def __post_init__(self) -> None:
        if self.literal is not None and self.env is not None:
            msg = "a secret is either a literal or an environment variable"
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()!r})"

    def __str__(self) -> str:
        shown = self._shown()
        return shown if isinstance(shown, str) else f"{{ env = {self.env!r} }}"

    def _shown(self) -> str | dict[str, str]:
        return REDACTED if self.env is None else {"env": self.env}

    @property
    def lockable(self) -> bool:
        """Whether it may stand in a lock file as it is: it is no literal."""
        return self.env is not None

    def resolve(
        self,
        *,
        what: str,
        reserved: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """The value to use now.

        An explicit `{ env }` wins; else the reserved variable, if it is set and not empty (that
        it overrides the file is logged, by names only); else the literal.

        Args:
            what: the option's path, for messages: `sinks.search.password`.
            reserved: the variable that overrides a literal.
            environ: the environment; that of the process by default.

        Raises:
            ConfigError: the variable that `env` names is not set, or a lock file left the literal
                out and the reserved variable is not set.
        """
        variables = os.environ if environ is None else environ
        if self.env is not None:
            value = variables.get(self.env)
            if value is None:
                msg = f"{what}: the environment variable {self.env} is not set"
                raise ConfigError(msg)
            return value
        override = _reserved_value(reserved, variables)
        if override is not None:
            if self.literal is not None:
                _log.info("%s: overridden by the environment variable %s", what, reserved)
            return override
        if self.literal is None:
            cure = f"set {reserved}, or " if reserved else ""
            msg = (
                f"{what}: the lock file holds no secrets; {cure}"
                'write { env = "VAR" } in flusso.toml and build the lock file again'
            )
            raise ConfigError(msg)
        return self.literal

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(cls._shown),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        del schema, handler
        variable = {
            "type": "object",
            "properties": {"env": {"type": "string", "pattern": "^[^=]+$"}},
            "required": ["env"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, variable]}

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return cls(literal=value)
        if isinstance(value, Mapping):
            table = cast(Mapping[object, object], value)
            env = table.get("env")
            if set(table) == {"env"} and isinstance(env, str) and _is_variable(env):
                return cls(env=env)
            context = cast(Mapping[str, object], info.context or {})
            if "lock" in context and dict(table) == {OMITTED: True}:
                return cls()
        raise PydanticCustomError("secret", 'expected a string or { env = "VARIABLE" }')


class SecretUrl(Secret):
    """A `Secret` that is a URL: without a user's password and a query it is no secret, and a lock
    file keeps it.
    """

    __slots__ = ()

    @property
    def lockable(self) -> bool:
        """Whether it may stand in a lock file as it is."""
        if self.env is not None:
            return True
        try:
            parts = urlsplit(self.literal or "")
            return bool(
                parts.scheme and parts.hostname and parts.password is None and not parts.query
            )
        except ValueError:
            return False


def resolve_optional(
    secret: Secret | None,
    *,
    what: str,
    reserved: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> str | None:
    """`Secret.resolve` for an option that may be left out: then the reserved variable, or `None`.

    Raises:
        ConfigError: as `Secret.resolve` does.
    """
    if secret is not None:
        return secret.resolve(what=what, reserved=reserved, environ=environ)
    return _reserved_value(reserved, os.environ if environ is None else environ)


def _reserved_value(reserved: str | None, environ: Mapping[str, str]) -> str | None:
    """What the reserved variable says. Empty counts as not set, as shells clear variables so."""
    return (environ.get(reserved) or None) if reserved else None


def _is_variable(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name
