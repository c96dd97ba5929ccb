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


def not_found(kind: Kind, name: str, installed: Sequence[str]) -> PluginNotFound:
    """The error for a plugin that no installed distribution provides."""
    message = f"no {kind.value} {name!r} is installed."
    package = _INSTALL.get((kind, name))
    if package is not None:
        return PluginNotFound(f"{message} Install it: pip install {package}")
    known = sorted({*installed, *(known for of, known in _INSTALL if of is kind)})
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        message += f" Did you mean {nearest[0]!r}?"
        package = _INSTALL.get((kind, nearest[0]))
        if nearest[0] not in installed and package is not None:
            message += f" Install it: pip install {package}."
    listed = ", ".join(sorted(set(installed))) or "none"
    return PluginNotFound(f"{message} Installed: {listed} (flusso plugins list)")
