"""The fault plan: what goes wrong, and when, replayable from a seed.

```python
plan = FaultPlan(seed=7, rate=0.1)
capture = MemoryCapture(database, fault=plan.source)
builder = MemoryBuilder(database, fault=plan.source)
sink = MemorySink(
    destination,
    fault=plan.sink,
    refuses=plan.refuses,
    throttle=plan.throttles,
    pause=plan.pause,
)
```

Run it on a `VirtualTimeLoop`, where nothing else is left to chance: the same seed goes wrong in the
same places. A plan with a script instead of a rate goes wrong at the named occasions only, so that
a test can try a fault at every step of a run, one after the other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from random import Random

from flusso_core.errors import SinkUnavailable, SourceUnavailable
from flusso_core.model import Document
from flusso_core.testing.sink import AppliedLater


class Fault(StrEnum):
    """One way in which something goes wrong.

    Attributes:
        SOURCE: a read of the source, or a delivery of its stream, fails for now.
        REQUEST: a request to the destination that is no flush fails for now.
        BEFORE: a flush fails, and nothing of it was applied.
        PART: a flush fails, and a part of it was applied.
        AFTER: a flush fails, and all of it was applied: the answer was lost.
        LATE: a flush fails, and is applied later, when nobody expects it (a time-out).
        THROTTLE: a document is refused for now.
        DELAY: a request takes seconds.
        REORDER: a request is overtaken by others.
    """

    SOURCE = "source"
    REQUEST = "request"
    BEFORE = "before"
    PART = "part"
    AFTER = "after"
    LATE = "late"
    THROTTLE = "throttle"
    DELAY = "delay"
    REORDER = "reorder"


_RATES: Mapping[Fault, float] = {
    Fault.SOURCE: 0.5,
    Fault.REQUEST: 1.0,
    Fault.BEFORE: 0.5,
    Fault.PART: 0.2,
    Fault.AFTER: 1.0,
    Fault.LATE: 0.5,
    Fault.THROTTLE: 0.25,
    Fault.DELAY: 0.1,
}
"""How often each happens, as a multiple of the plan's rate."""

_DELAYS = (0.1, 2.0, 40.0)
_TURNS = (0, 1, 1, 5)
_FLUSH = {"part": Fault.PART, "after": Fault.AFTER}


class FaultPlan:
    """Decides at each occasion whether something goes wrong there.

    Args:
        seed: of every choice.
        rate: about how often, from 0 (never) to 1; change it at any time.
        script: numbers of occasions (from 1) at which each fault happens, instead of by chance.
        poison: documents whose body contains this are refused for good.

    Attributes:
        happened: how often each fault has happened.
        occasions: how often each one could have.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rate: float = 0.0,
        script: Mapping[Fault, Collection[int]] | None = None,
        poison: bytes | None = None,
    ) -> None:
        self.random = Random(seed)
        self.rate = rate
        self.happened: Counter[Fault] = Counter()
        self.occasions: Counter[Fault] = Counter()
        self._script = script
        self._poison = poison

    def replace(self, script: Mapping[Fault, Collection[int]]) -> None:
        """Go on by another script; occasions are counted on."""
        self._script = script

    def source(self) -> None:
        """For `MemoryCapture` and `MemoryBuilder`.

        Raises:
            SourceUnavailable: it is an occasion to.
        """
        if self._strikes(Fault.SOURCE):
            raise SourceUnavailable("a fault of the plan")

    def sink(self, moment: str) -> None:
        """For `MemorySink`, whose requests come to these moments.

        Raises:
            SinkUnavailable: it is an occasion to.
        """
        if moment == "before":
            if self._strikes(Fault.LATE):
                raise AppliedLater("a fault of the plan")
            if self._strikes(Fault.BEFORE):
                raise SinkUnavailable("a fault of the plan")
        elif self._strikes(_FLUSH.get(moment, Fault.REQUEST)):
            raise SinkUnavailable("a fault of the plan")

    def throttles(self, identity: str) -> bool:
        """For `MemorySink`: whether the document with this `_id` is refused for now."""
        del identity
        return self._strikes(Fault.THROTTLE)

    def refuses(self, document: Document) -> bool:
        """For `MemorySink`: whether the document is refused for good; always the same."""
        return self._poison is not None and self._poison in (document.body or b"")

    async def pause(self) -> None:
        """For `MemorySink`: let requests overtake each other, or take long."""
        if self._script is None:
            for _ in range(self.random.choice(_TURNS)):
                await asyncio.sleep(0)
        elif self._strikes(Fault.REORDER):
            await asyncio.sleep(0.001)
        if self._strikes(Fault.DELAY):
            await asyncio.sleep(self.random.choice(_DELAYS))

    def _strikes(self, fault: Fault) -> bool:
        self.occasions[fault] += 1
        if self._script is not None:
            strikes = self.occasions[fault] in self._script.get(fault, ())
        else:
            rate = self.rate * _RATES.get(fault, 0.0)
            strikes = rate > 0 and self.random.random() < rate
        self.happened[fault] += strikes
        return strikes
