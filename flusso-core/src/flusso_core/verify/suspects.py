"""Documents that seem to differ, until it is known what each of them is: a pure state machine.

A source that lives is never seen at one moment with its destination, so that a difference says
nothing by itself: a change may be on its way. Each look at a suspect reads the destination first
and the source behind it. Between two looks everything lands that had been committed by the end of
the first one. So what the destination has at the second look is as new as what the source had at
the first, and where its version is still the one of the first look, nothing that touches the
document was on its way: the difference between both was real.

```text
              differs                    differs, and nothing has been written since
 suspected ───────────▶ seen to differ ─────────────────────────────────────────────▶ DRIFT
     │                    │  ▲   │
     │ is right           │  └───┘ differs, but has been written: look again
     ▼                    ▼
   RIGHT                 RIGHT, or CHANGING after so many looks,
                         or BEHIND where what had been committed did not land
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flusso_core.model import Key, StoredDocument
from flusso_core.verify.comparison import same

MOST_LOOKS = 6
"""Looks at a document that is written again and again before it is left alone."""


class Verdict(StrEnum):
    """What is known of a suspect in the end."""

    RIGHT = "right"
    """Both have the same: a change was on its way, if anything."""

    DRIFT = "drift"
    """It differs, and nothing that has been committed explains it."""

    BEHIND = "behind"
    """It differs, and changes that have not been applied may be why."""

    CHANGING = "changing"
    """It was written anew before each look, and differed each time."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one look has seen; bodies are told apart by their digests."""

    expected: bytes | None
    stored: bytes | None
    version: int

    def shows_no_write_since(self, before: _Sight) -> bool:
        """Whether the destination's document is the very one that was seen before.

        Without a version, which what is not there has not either, it may have gone and come
        back; then what the source has must be the same too.
        """
        if (self.stored, self.version) != (before.stored, before.version):
            return False
        return self.version > 0 or self.expected == before.expected


class Suspects:
    """A number of suspects, each to be looked at until there is a verdict.

    Args:
        keys: of the documents.
        most_looks: at one that changes all the time.
    """

    def __init__(self, keys: Iterable[Key], *, most_looks: int = MOST_LOOKS) -> None:
        self._seen: dict[Key, _Sight | None] = dict.fromkeys(keys)
        self._most_looks = most_looks
        self._looks = 0

    @property
    def keys(self) -> Sequence[Key]:
        """Those of whom it is not known yet."""
        return list(self._seen)

    def look(self) -> None:
        """A look at all of them begins; `saw` tells what it sees of each."""
        self._looks += 1

    def saw(
        self, key: Key, expected: bytes | None, stored: StoredDocument, *, applied: bool
    ) -> Verdict | None:
        """Take in what a look has seen of a suspect.

        Args:
            key: of the document.
            expected: what the source has, read after `stored`.
            stored: what the destination has.
            applied: whether everything has landed that was committed by the end of the look
                before.

        Returns:
            `None`: it is to be looked at once more.
        """
        verdict = self._judge(key, expected, stored, applied=applied)
        if verdict is not None:
            del self._seen[key]
        return verdict

    def drop(self, key: Key) -> None:
        """It is another document's business."""
        del self._seen[key]

    def _judge(
        self, key: Key, expected: bytes | None, stored: StoredDocument, *, applied: bool
    ) -> Verdict | None:
        if same(expected, stored.body):
            return Verdict.RIGHT
        before = self._seen[key]
        sight = _Sight(_digest(expected), _digest(stored.body), stored.version)
        self._seen[key] = sight
        if before is None:
            return None
        if not applied:
            return Verdict.BEHIND
        if sight.shows_no_write_since(before):
            return Verdict.DRIFT
        return Verdict.CHANGING if self._looks >= self._most_looks else None


def _digest(body: bytes | None) -> bytes | None:
    return None if body is None else hashlib.blake2b(body, digest_size=16).digest()
