"""Sends bulk requests: quick new tries, and halves where the server finds one too large."""

from __future__ import annotations

import asyncio
import gzip
import time

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from flusso_core.errors import SinkUnavailable
from flusso_sink_opensearch.bulk import FILTER_PATH, BulkOutcome, BulkRequest, read_answer
from flusso_sink_opensearch.client import (
    Cluster,
    RequestTooLarge,
    SinkOverloaded,
    SinkTimedOut,
)
from flusso_sink_opensearch.concurrency import Concurrency, Gate
from flusso_sink_opensearch.options import OpenSearchOptions

MOST_IN_FLIGHT = 6
_FIRST_IN_FLIGHT = 3


class BulkWriter:
    """Brings bulk requests to the cluster, as many at once as it takes well."""

    def __init__(self, cluster: Cluster, options: OpenSearchOptions) -> None:
        self._cluster = cluster
        self._options = options
        self._params = {"filter_path": FILTER_PATH, "require_alias": "true"}
        if options.pipeline is not None:
            self._params["pipeline"] = options.pipeline
        self._concurrency = Concurrency(MOST_IN_FLIGHT, _FIRST_IN_FLIGHT)
        self._gate = Gate(self._concurrency)

    async def send(self, request: BulkRequest, *, refresh: bool) -> BulkOutcome:
        """Send a request and read what became of its documents.

        A single document that the server finds too large is rejected.

        Args:
            request: what to write.
            refresh: make it searchable before the server answers.

        Raises:
            SinkUnavailable: the whole request failed for now, `max_retries` quick tries included.
            SinkFatal: it cannot succeed.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_a_quick_retry),
            stop=stop_after_attempt(1 + self._options.max_retries),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            reraise=True,
        )
        # The versions make it harmless to send again what may have landed already.
        outcome: BulkOutcome | None = await retrying(self._send_once, request, refresh=refresh)
        if outcome is not None:
            return outcome
        if len(request.documents) == 1:
            reason = f"its {len(request.body)} bytes are more than the server takes (413)"
            return BulkOutcome(rejected=[(request.documents[0], reason)])
        whole = BulkOutcome()
        for half in request.halves():
            whole.add(await self.send(half, refresh=refresh))
        return whole

    async def _send_once(self, request: BulkRequest, *, refresh: bool) -> BulkOutcome | None:
        """Send a request; `None`: the server finds it too large."""
        doing = f"writing {len(request.documents)} documents"
        params = {**self._params, "refresh": "true"} if refresh else self._params
        headers = {"content-type": "application/x-ndjson"}
        if self._options.compress:
            headers["content-encoding"] = "gzip"
        async with self._gate:
            # Only here, so that what waits does not have its documents in memory twice.
            body = request.body
            if self._options.compress:
                body = await asyncio.to_thread(gzip.compress, body, 1)
            full = self._gate.full
            began = time.monotonic()
            try:
                with self._cluster.errors(doing):
                    answer = await self._cluster.client.transport.perform_request(
                        "POST", "/_bulk", params=params, headers=headers, body=body
                    )
            except RequestTooLarge:
                return None
            except (SinkOverloaded, SinkTimedOut):
                self._concurrency.overloaded(began, time.monotonic())
                raise
            ended = time.monotonic()
        try:
            outcome = read_answer(answer, request.documents)
        except (ValueError, TypeError, AttributeError) as error:
            msg = f"{doing}: {self._cluster.url} does not answer as OpenSearch does: {error}"
            raise SinkUnavailable(msg) from error
        if outcome.overloaded:
            self._concurrency.overloaded(began, ended)
        else:
            self._concurrency.landed(len(body), began, ended, full=full)
        return outcome


def _worth_a_quick_retry(error: BaseException) -> bool:
    return isinstance(error, SinkUnavailable) and not isinstance(error, SinkTimedOut)
