"""Checks of a sink's life: opening, closing, outages, what it shows of itself."""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.errors import SinkUnavailable
from flusso_core.model import Severity
from flusso_core.testing.conformance.promise import Impossible, Promise, shown
from flusso_core.testing.conformance.samples import GENERATION, SAMPLE, content, upsert
from flusso_core.testing.conformance.sink.bench import GUIDE, SinkBench, SinkChecks, writing

CLOSES = Promise("`close` may come twice, and without `open`", GUIDE)
SECRET = Promise("no secret shows in a `repr` or an error", GUIDE)
DECLARED = Promise("capabilities are positive bounds, known before `open`", GUIDE)
HEALTHY = Promise("`check` finds no error at a healthy destination, and changes nothing", GUIDE)
OUTAGE = Promise(
    "an unreachable destination raises `SinkUnavailable`; when it is back, the same sink goes on",
    GUIDE,
)


class LifeChecks(SinkChecks):
    """Each check fails with the promise that was broken."""

    async def test_close_may_come_at_any_time_and_twice(self, bench: SinkBench) -> None:
        """After `open`, and without it."""
        await CLOSES.within(bench.sink().close(), "close of a sink that was not opened")
        async with writing(bench) as sink:
            pass
        await CLOSES.within(sink.close(), "a second close")

    async def test_capabilities_are_known_before_it_is_open(self, bench: SinkBench) -> None:
        """The engine plans by them."""
        limits = bench.sink().capabilities
        bounds = (limits.flushes_in_flight, limits.max_documents, limits.max_bytes)
        if min(bounds) < 1:
            raise DECLARED.broken(shown(limits))

    async def test_no_secret_shows(self, bench: SinkBench) -> None:
        """Not in the text of the object, open or closed."""
        async with bench.sink() as sink:
            texts = [repr(bench.sink()), repr(sink), str(sink)]
        for text in texts:
            _shows_none(bench.secrets, text)

    async def test_a_check_of_a_healthy_destination_finds_no_error(self, bench: SinkBench) -> None:
        """It runs before anything was written, and creates nothing."""
        async with bench.sink() as sink:
            findings = await HEALTHY.within(sink.check(), "check")
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        HEALTHY.same(errors, [], "`check`")
        HEALTHY.same(await bench.stored(SAMPLE, GENERATION), {}, "after `check`")

    async def test_an_outage_is_told_and_survived(self, bench: SinkBench) -> None:
        """The engine tries again, for ever; what it flushes then is durable."""
        outage = bench.outage()
        if isinstance(outage, Impossible):
            outage.skip()
            return
        before, after = upsert("1", 1, {"name": "before"}), upsert("2", 2, {"name": "after"})
        async with writing(bench) as sink:
            await sink.flush([before], caught_up=False)
            async with outage:
                error = await OUTAGE.failure(
                    SinkUnavailable,
                    sink.flush([after], caught_up=False),
                    "a flush in an outage",
                )
            await OUTAGE.within(sink.flush([after], caught_up=False), "a flush after the outage")
            found = await bench.stored(SAMPLE, GENERATION)
        OUTAGE.same(found, content([before, after]), "after the outage")
        _shows_none(bench.secrets, str(error))


def _shows_none(secrets: Sequence[str], text: str) -> None:
    for secret in secrets:
        if secret in text:
            raise SECRET.broken(f"a secret of {len(secret)} characters in a text of {len(text)}")
