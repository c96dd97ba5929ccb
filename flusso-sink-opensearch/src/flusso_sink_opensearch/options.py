"""The options of a `[sinks.NAME]` table with `type = "opensearch"`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from flusso_core import model
from flusso_core.config import Secret, SecretUrl

_OWN_SETTINGS = {
    "number_of_shards": "number_of_shards",
    "number_of_replicas": "number_of_replicas",
    "refresh_interval": "refresh_interval",
}
_DURATION = r"^(-1|[0-9]+(\.[0-9]+)?(nanos|micros|ms|s|m|h|d))$"


def flat_settings(given: Mapping[str, model.JsonValue]) -> dict[str, model.JsonValue]:
    """Index settings by their flat names: nested tables are joined by dots, `index.` is left out.

    Raises:
        ValueError: they say something about analysis.
    """
    flat: dict[str, model.JsonValue] = {}
    for name, value in given.items():
        short = name.removeprefix("index.")
        if short.split(".", 1)[0] == "analysis":
            msg = "analysis belongs to flusso; a field's `options` may name any built-in analyzer"
            raise ValueError(msg)
        if isinstance(value, Mapping):
            flat.update(flat_settings({f"{name}.{key}": below for key, below in value.items()}))
        else:
            flat[short] = value
    return flat


class TextAnalysis(StrEnum):
    """Which analyzers texts get: those that every cluster has, or those of `analysis-icu`."""

    BUILTIN = "builtin"
    ICU = "icu"


class MissingIndexPolicy(StrEnum):
    """What follows when an index that holds documents is gone: fill it afresh, or stop."""

    RESEED = "reseed"
    STOP = "stop"


class OpenSearchOptions(BaseModel):
    """How to reach a cluster, and what the indexes in it are like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretUrl = Field(
        description="https://host:port; a user and a password in it are split off."
    )
    username: Secret | None = Field(default=None, description="User for basic authentication.")
    password: Secret | None = Field(default=None, description="The user's password.")
    tls_verify: bool = Field(
        default=True, description="Whether the server's certificate must be valid."
    )
    ca_file: str | None = Field(
        default=None,
        description="File of the certificate authorities to trust instead of the system's.",
    )
    client_cert: str | None = Field(
        default=None, description="File of the client's certificate, for clusters that ask for one."
    )
    client_key: str | None = Field(
        default=None, description="File of that certificate's key, where it stands in another file."
    )
    headers: dict[str, Secret] = Field(
        default_factory=dict[str, Secret],
        description="Sent with every request, such as Authorization with an API key.",
    )
    compress: bool = Field(default=False, description="Send bulk requests compressed with gzip.")
    batch_size: int = Field(
        default=1000, ge=1, le=100_000, description="Most documents in a bulk request."
    )
    max_bytes: int = Field(
        default=10 * 1024 * 1024,
        ge=1024,
        description="Most bytes in a bulk request; a single larger document is sent alone.",
    )
    timeout_secs: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Seconds after which an unanswered request counts as failed.",
    )
    max_retries: int = Field(
        default=3,
        ge=0,
        le=100,
        description=(
            "Quick new tries of a failed bulk request before the sink counts as unavailable; "
            "it is tried for ever in any case."
        ),
    )
    pipeline: str | None = Field(
        default=None, description="Ingest pipeline that documents pass in the cluster."
    )
    number_of_shards: int = Field(default=1, ge=1, description="Primary shards of a new index.")
    number_of_replicas: int = Field(default=1, ge=0, description="Copies of each primary shard.")
    refresh_interval: str = Field(
        default="10s",
        pattern=_DURATION,
        description="How often written documents become searchable under load.",
    )
    text_analysis: TextAnalysis = Field(
        default=TextAnalysis.BUILTIN, description="Which analyzers texts get."
    )
    auto_subfields: bool = Field(
        default=True, description="Whether texts and keywords get subfields of each other's kind."
    )
    settings: dict[str, JsonValue] = Field(
        default_factory=dict[str, JsonValue],
        description="Any other index setting, such as mapping.nested_objects.limit.",
    )
    on_missing_index: MissingIndexPolicy = Field(
        default=MissingIndexPolicy.RESEED,
        description="What follows when an index is found deleted.",
    )
    quarantine_limit: int = Field(
        default=10_000,
        ge=0,
        description="Most documents that are kept in the quarantine; then the run stops.",
    )
    aws_region: str | None = Field(
        default=None,
        description="Sign requests for the Amazon OpenSearch Service of this region.",
    )
    aws_service: str | None = Field(
        default=None, description="The service's name in the signatures; es by default."
    )

    @field_validator("ca_file", "client_cert", "client_key")
    @classmethod
    def _no_folder(cls, value: str | None) -> str | None:
        if value is not None and Path(value).is_dir():
            msg = "expected a file, not a folder"
            raise ValueError(msg)
        return value

    @field_validator("settings")
    @classmethod
    def _one_place_each(cls, value: dict[str, JsonValue]) -> dict[str, model.JsonValue]:
        settings = flat_settings(value)
        for name, option in _OWN_SETTINGS.items():
            if name in settings:
                msg = f"{name} is an option of the sink itself: write {option} beside `settings`"
                raise ValueError(msg)
        return settings

    @model_validator(mode="after")
    def _a_service_needs_its_region(self) -> OpenSearchOptions:
        if self.aws_service is not None and self.aws_region is None:
            msg = "aws_service needs aws_region"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _key_needs_a_certificate(self) -> OpenSearchOptions:
        if self.client_key is not None and self.client_cert is None:
            msg = "client_key needs client_cert"
            raise ValueError(msg)
        return self
