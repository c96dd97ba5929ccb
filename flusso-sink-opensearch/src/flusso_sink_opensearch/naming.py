"""The names of what flusso owns in a cluster.

`{prefix}{name}` and `{prefix}{name}_{hash}` are aliases that searches use;
`{prefix}{name}_{hash}_{n}` is a generation and holds documents; what a run writes goes through an
alias of its own, `{prefix}{name}_{hash}_{n}_w{epoch}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_GENERATION = re.compile(r"([0-9a-z]+)_([0-9]+)")
_RUST_HASH = re.compile(r"[0-9a-f]{8}")
_EPOCH = re.compile(r"_w([0-9]+)$")


@dataclass(frozen=True, slots=True)
class Names:
    """Names under one prefix."""

    prefix: str

    @property
    def meta(self) -> str:
        """The index of leases and state records."""
        return f"{self.prefix}flusso_meta"

    @property
    def quarantine(self) -> str:
        """The index of refused documents."""
        return f"{self.prefix}flusso_quarantine"

    def logical(self, index: str) -> str:
        """The alias that searches use."""
        return f"{self.prefix}{index}"

    def schema(self, index: str, schema_hash: str) -> str:
        """The alias on the generation that serves one schema."""
        return f"{self.prefix}{index}_{schema_hash}"

    def data(self, index: str, schema_hash: str, generation: int) -> str:
        """The index that holds a generation's documents."""
        return f"{self.schema(index, schema_hash)}_{generation}"


def is_rust_hash(schema_hash: str) -> bool:
    """Whether the Rust program of the same name spells hashes of schemas like this."""
    return _RUST_HASH.fullmatch(schema_hash) is not None


def write_alias(index: str, epoch: int) -> str:
    """The alias that the run of this epoch writes through."""
    return f"{index}_w{epoch}"


def write_epochs(index: str, aliases: Iterable[str]) -> dict[str, int]:
    """Those of the aliases that runs write to `index` through, with their epochs."""
    found: dict[str, int] = {}
    for alias in aliases:
        match = _EPOCH.search(alias)
        if match and alias[: match.start()] == index:
            found[alias] = int(match[1])
    return found


def generation_parts(logical: str, name: str) -> tuple[str, int] | None:
    """Schema hash and number of the generation that a data index holds; `None`: it is no such."""
    match = _GENERATION.fullmatch(name.removeprefix(f"{logical}_"))
    return None if match is None else (match[1], int(match[2]))
