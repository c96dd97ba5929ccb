"""What to install when a plugin is missing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from flusso_core.errors import PluginNotFound
from flusso_core.plugins.discovery import Kind

# The types of flusso's own packages, and how to get them.
_INSTALL = {
    (Kind.CAPTURE, "postgres"): '"flusso-core[postgres]"',
    (Kind.CAPTURE, "polling"): '"flusso-core[polling]"',
    (Kind.BUILDER, "postgres"): '"flusso-core[postgres]"',
    (Kind.BUILDER, "polling"): '"flusso-core[polling]"',
    (Kind.SINK, "opensearch"): '"flusso-core[opensearch]"',
    (Kind.SINK, "stdout"): '"flusso-core[stdout]"',
    (Kind.COMMAND, "demo"): "flusso-sandbox",
}


def not_found(name: str, kinds: Sequence[Kind], installed: Sequence[str]) -> PluginNotFound:
    """The error for a plugin that no installed distribution provides.

    Args:
        name: what was asked for.
        kinds: which kinds would do.
        installed: names of these kinds that there are.
    """
    what = kinds[0].value if len(kinds) == 1 else "plugin"
    message = f"no {what} {name!r} is installed."
    ours = {known: package for (kind, known), package in _INSTALL.items() if kind in kinds}
    if name in ours:
        return PluginNotFound(f"{message} Install it: pip install {ours[name]}")
    nearest = difflib.get_close_matches(name, sorted({*installed, *ours}), n=1)
    if nearest:
        message += f" Did you mean {nearest[0]!r}?"
        if nearest[0] not in installed:
            message += f" Install it: pip install {ours[nearest[0]]}."
    listed = ", ".join(sorted(set(installed))) or "none"
    return PluginNotFound(f"{message} Installed: {listed}")
