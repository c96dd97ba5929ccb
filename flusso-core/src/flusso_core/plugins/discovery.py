"""Which plugins are installed, read from distributions' metadata. Nothing of theirs is imported."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import importlib_metadata

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

logger = logging.getLogger(__name__)

CORE = "flusso-core"

_Read = TypeVar("_Read")


# What is used of importlib_metadata's classes, which are only partly typed.
class _EntryPoint(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def value(self) -> str: ...
    def load(self) -> object: ...


class _Distribution(Protocol):
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def version(self) -> str: ...
    @property
    def requires(self) -> Sequence[str] | None: ...
    @property
    def entry_points(self) -> Iterable[_EntryPoint]: ...
    @property
    def origin(self) -> Any: ...
    def read_text(self, filename: str) -> str | None: ...


_distributions = cast("Callable[[], Iterable[_Distribution]]", importlib_metadata.distributions)  # pyright: ignore[reportUnknownMemberType]
_distribution = cast("Callable[[str], _Distribution]", importlib_metadata.distribution)


class Kind(StrEnum):
    """What a plugin provides; each kind has an entry-point group of its own."""

    CAPTURE = "capture"
    BUILDER = "builder"
    SINK = "sink"
    QUEUE = "queue"
    HOOKS = "hooks"
    COMMAND = "command"

    @property
    def group(self) -> str:
        """The entry-point group."""
        return "flusso.hooks" if self is Kind.HOOKS else f"flusso.{self.value}s"


class Origin(StrEnum):
    """How a distribution came to be installed, as far as its metadata says."""

    WHEEL = "wheel"
    EDITABLE = "editable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """An installed plugin, as its distribution's metadata describes it.

    Attributes:
        kind: what it provides.
        name: its `type` in the configuration (of a command: the command's name).
        distribution: the name of the distribution that it comes from.
        version: of that distribution.
        origin: how that was installed.
        requires: the range of flusso-core that the distribution requires; empty: any.
        in_range: whether the running flusso-core is in that range.
        summary: the distribution's own one-line description.
        entry_point: what is loaded: a module, or `module:attribute`.
    """

    kind: Kind
    name: str
    distribution: str
    version: str
    origin: Origin
    requires: str
    in_range: bool
    summary: str
    entry_point: _EntryPoint = field(repr=False, compare=False)


def core_version() -> str:
    """The version of the running flusso-core."""
    return importlib_metadata.version(CORE)


def discover(kind: Kind | None = None) -> Sequence[PluginInfo]:
    """Every installed plugin, or those of one kind, sorted by kind, name and distribution.

    Two distributions that provide the same name are both listed; loading that name fails. A
    distribution whose metadata cannot be read is left out with a warning in the log.
    """
    kinds = tuple(Kind) if kind is None else (kind,)
    found = _read(kinds, _plugins_of)
    order = list(Kind)
    found.sort(key=lambda info: (order.index(info.kind), info.name, info.distribution))
    return found


def summaries(kind: Kind) -> Mapping[str, str]:
    """The names of the installed plugins of one kind, each with its distribution's description.

    It looks at no version, so it costs a fraction of `discover`: it is what `--help` waits for.
    """
    return dict(_read((kind,), _summaries_of))


def _read(
    kinds: Sequence[Kind],
    read: Callable[[_Distribution, Sequence[Kind]], Iterator[_Read]],
) -> list[_Read]:
    """What `read` makes of each distribution that has plugins of these kinds."""
    found: list[_Read] = []
    for name in sorted(_candidates(kinds)):
        try:
            # Of several copies on the path, this is the one that an import would find as well.
            found.extend(read(_distribution(name), kinds))
        except Exception:  # metadata of strangers: whatever is wrong with it stays with it
            logger.warning("the metadata of the distribution %s cannot be read", name)
            logger.debug("it fails like this:", exc_info=True)
    return found


def normalised(name: str) -> str:
    """A distribution's name as the packaging specifications compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _candidates(kinds: Sequence[Kind]) -> set[str]:
    """Names of the distributions whose entry points mention one of the groups."""
    headers = tuple(f"[{kind.group}]" for kind in kinds)
    names: set[str] = set()
    for distribution in _distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if any(header in text for header in headers):
                names.add(normalised(distribution.metadata["Name"]))
        except Exception:  # metadata of strangers: whatever is wrong with it stays with it
            logger.debug("a distribution's metadata cannot be read", exc_info=True)
    return names


def _plugins_of(distribution: _Distribution, kinds: Sequence[Kind]) -> Iterator[PluginInfo]:
    requires = _core_range(distribution)
    in_range = requires.contains(core_version(), prereleases=True)
    origin = _origin(distribution)
    by_group = {kind.group: kind for kind in kinds}
    for entry_point in distribution.entry_points:
        if entry_point.group in by_group:
            yield PluginInfo(
                kind=by_group[entry_point.group],
                name=entry_point.name,
                distribution=distribution.metadata["Name"],
                version=distribution.version,
                origin=origin,
                requires=str(requires),
                in_range=in_range,
                summary=distribution.metadata.get("Summary") or "",
                entry_point=entry_point,
            )


def _summaries_of(distribution: _Distribution, kinds: Sequence[Kind]) -> Iterator[tuple[str, str]]:
    groups = {kind.group for kind in kinds}
    for entry_point in distribution.entry_points:
        if entry_point.group in groups:
            yield entry_point.name, distribution.metadata.get("Summary") or ""


def _core_range(distribution: _Distribution) -> SpecifierSet:
    # `flusso --help` needs no versions, and this import would be a fifth of its time.
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import SpecifierSet

    combined = SpecifierSet()
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and normalised(requirement.name) == CORE:
            combined &= requirement.specifier
    return combined


def _origin(distribution: _Distribution) -> Origin:
    # direct_url.json: PyPA's "Recording the Direct URL Origin"; WHEEL: the wheel specification.
    directory = getattr(distribution.origin, "dir_info", None)
    if getattr(directory, "editable", False):
        return Origin.EDITABLE
    return Origin.UNKNOWN if distribution.read_text("WHEEL") is None else Origin.WHEEL
