"""Finds what a cluster would refuse of an index, by having it simulate the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from opensearchpy.exceptions import AuthorizationException, RequestError

from flusso_core.model import Finding, IndexMapping, MappedField, Severity
from flusso_sink_opensearch.client import Cluster, error_body, error_type, is_block
from flusso_sink_opensearch.definition import Definition
from flusso_sink_opensearch.naming import Names

_TEMPLATE_PRIORITY = 2**31 - 1  # above every template that there may be for such names


class _MayNotTry(Exception):
    """The user may not simulate; nothing is known."""


class Trial:
    """Tries an index without making it.

    "Simulate index template" parses mappings and settings as the creation of an index does, and
    keeps nothing.
    """

    def __init__(self, cluster: Cluster, names: Names, definition: Definition) -> None:
        self._cluster = cluster
        self._names = names
        self._definition = definition

    async def check(self, mapping: IndexMapping) -> Sequence[Finding]:
        """The fields that the cluster refuses, or else what it has against the whole.

        Raises:
            SinkUnavailable: the cluster does not answer.
            SinkFatal: it refuses this user altogether.
        """
        subject = f"index {mapping.index!r}"
        try:
            reason = await self._refusal(mapping)
        except _MayNotTry:
            return [
                Finding(
                    Severity.WARNING,
                    subject,
                    "whether OpenSearch takes every field is not known: the user may not simulate "
                    "index templates",
                    "grant the cluster privilege indices:admin/index_template/simulate",
                )
            ]
        if reason is None:
            return []
        found = [
            Finding(
                Severity.ERROR,
                subject,
                f"OpenSearch refuses the field {field.json_path}: {why}",
                "correct the field's type or `options` in the schema file",
            )
            for field, why in await self._refused(mapping)
        ]
        cure = "correct the schema file, or the sink's `settings`"
        return found or [Finding(Severity.ERROR, subject, f"OpenSearch refuses it: {reason}", cure)]

    async def _refused(self, mapping: IndexMapping) -> list[tuple[MappedField, str]]:
        """The innermost fields that are refused on their own, and why.

        None where the fields are not to blame: the settings are, or only all of them together.
        """
        if await self._refusal(replace(mapping, fields=())) is not None:
            return []
        return await self._divided(mapping)

    async def _divided(self, mapping: IndexMapping) -> list[tuple[MappedField, str]]:
        reason = await self._refusal(mapping)
        if reason is None:
            return []
        fields = list(mapping.fields)
        if len(fields) > 1:
            middle = len(fields) // 2
            halves = (mapping.fields[:middle], mapping.fields[middle:])
            return [
                one for half in halves for one in await self._divided(replace(mapping, fields=half))
            ]
        field = fields[0]
        inner = await self._divided(replace(mapping, fields=field.fields)) if field.fields else []
        return inner or [(field, reason)]

    async def _refusal(self, mapping: IndexMapping) -> str | None:
        body = {
            "index_patterns": [self._names.data(mapping.index, mapping.schema_hash, 1)],
            "priority": _TEMPLATE_PRIORITY,
            "template": {
                "mappings": self._definition.mappings(mapping),
                "settings": {"index": self._definition.seeding(mapping)},
            },
        }
        with self._cluster.errors(f"trying the index {mapping.index!r}"):
            try:
                await self._cluster.client.transport.perform_request(
                    "POST", "/_index_template/_simulate", body=body
                )
            except RequestError as error:
                return _innermost(error_body(error))
            except AuthorizationException as error:
                if is_block(error_type(error)):
                    raise
                raise _MayNotTry from error
        return None


def _innermost(body: dict[str, Any]) -> str:
    """The reason behind the reasons: the outer ones speak of a template that nobody made."""
    reasons = [str(each["reason"]) for each in _chain(body) if each.get("reason")]
    return reasons[-1] if reasons else "no reason given"


def _chain(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while body:
        yield body
        suppressed = cast("list[dict[str, Any]]", body.get("suppressed") or [{}])
        body = body.get("caused_by") or suppressed[0]
