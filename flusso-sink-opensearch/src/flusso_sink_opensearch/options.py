"""The options of a `[sinks.NAME]` table with `type = "opensearch"`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from flusso_core.config import Secret, SecretUrl

_OWN_SETTINGS = {
    "number_of_shards": "number_of_shards",
    "number_of_replicas": "number_of_replicas",
    "refresh_interval": "refresh_interval",
}
_DURATION = r"^(-1|[0-9]+(\.[0-9]+)?(nanos|micros|ms|s|m|h|d))$"


class TextAnalysis(StrEnum):
    """Which analyzers texts get: those that every cluster has, or those of `analysis-icu`."""

    BUILTIN = "builtin"
    ICU = "icu"


class MissingIndexPolicy(StrEnum):
    """What follows when an index that holds documents is gone: fill it afresh, or stop."""

    RESEED = "reseed"
    STOP = "stop"


class OpenSearchOptions(BaseModel):
    """How to reach a cluster, and what the indexes in it are like.

    Attributes:
        url: `https://host:port`; a user and a password in it are split off.
        username: user for basic authentication.
        password: its password.
        tls_verify: whether the server's certificate must be valid.
        ca_file: file of the certificate authorities to trust instead of the system's.
        client_cert: file of the client's certificate, for clusters that ask for one.
        client_key: file of that certificate's key, where it stands in another file.
        headers: sent with every request, such as `Authorization` with an API key.
        compress: send bulk requests compressed with gzip.
        batch_size: most documents in a bulk request.
        max_bytes: most bytes in a bulk request; a single larger document is sent alone.
        timeout_secs: seconds after which an unanswered request counts as failed.
        max_retries: quick new tries of a failed bulk request before the sink counts as
            unavailable; it is tried for ever in any case.
        pipeline: ingest pipeline that documents pass in the cluster.
        number_of_shards: primary shards of a new index.
        number_of_replicas: copies of each primary shard.
        refresh_interval: how often written documents become searchable under load.
        text_analysis: which analyzers texts get.
        auto_subfields: whether texts and keywords get subfields of each other's kind.
        settings: any other index setting, such as `mapping.nested_objects.limit`.
        on_missing_index: what follows when an index is found deleted.
        quarantine_limit: most documents that are kept in the quarantine; then the run stops.
        aws_region: not available yet.
        aws_service: not available yet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretUrl
    username: Secret | None = None
    password: Secret | None = None
    tls_verify: bool = True
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    headers: dict[str, Secret] = Field(default_factory=dict[str, Secret])
    compress: bool = False
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    timeout_secs: Annotated[float, Field(gt=0, le=3600)] = 30
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    pipeline: str | None = None
    number_of_shards: Annotated[int, Field(ge=1)] = 1
    number_of_replicas: Annotated[int, Field(ge=0)] = 1
    refresh_interval: Annotated[str, Field(pattern=_DURATION)] = "10s"
    text_analysis: TextAnalysis = TextAnalysis.BUILTIN
    auto_subfields: bool = True
    settings: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    on_missing_index: MissingIndexPolicy = MissingIndexPolicy.RESEED
    quarantine_limit: Annotated[int, Field(ge=0)] = 10_000
    aws_region: str | None = None
    aws_service: str | None = None

    @field_validator("aws_region", "aws_service")
    @classmethod
    def _no_signatures_yet(cls, value: str | None) -> str | None:
        if value is not None:
            msg = (
                "requests cannot be signed for AWS yet; leave it out, and use username and "
                "password (a master user of the domain) or headers"
            )
            raise ValueError(msg)
        return value

    @field_validator("ca_file", "client_cert", "client_key")
    @classmethod
    def _no_folder(cls, value: str | None) -> str | None:
        if value is not None and Path(value).is_dir():
            msg = "expected a file, not a folder"
            raise ValueError(msg)
        return value

    @field_validator("settings")
    @classmethod
    def _one_place_each(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        settings = {name.removeprefix("index."): given for name, given in value.items()}
        for name, option in _OWN_SETTINGS.items():
            if name in settings:
                msg = f"{name} is an option of the sink itself: write {option} beside `settings`"
                raise ValueError(msg)
        if "analysis" in settings or any(name.startswith("analysis.") for name in settings):
            msg = "analysis belongs to flusso; a field's `options` may name any built-in analyzer"
            raise ValueError(msg)
        return settings

    @model_validator(mode="after")
    def _key_needs_a_certificate(self) -> OpenSearchOptions:
        if self.client_key is not None and self.client_cert is None:
            msg = "client_key needs client_cert"
            raise ValueError(msg)
        return self
