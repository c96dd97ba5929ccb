"""What this package registers: a capture and a builder, both named `polling`."""

from __future__ import annotations

from flusso_core.hookspecs import BuilderPlugin, CapturePlugin, SourceContext, hookimpl
from flusso_core.interfaces import ChangeCapture, DocumentBuilder
from flusso_source_polling.options import PollingOptions


@hookimpl
def flusso_capture() -> CapturePlugin:
    """Register the capture by polling."""
    return CapturePlugin(
        name="polling", options=PollingOptions, create=_create_capture, default_builder="polling"
    )


@hookimpl
def flusso_builder() -> BuilderPlugin:
    """Register the portable builder."""
    return BuilderPlugin(name="polling", options=PollingOptions, create=_create_builder)


# SQLAlchemy is imported by these modules only: listing plugins and `--help` stay fast.


def _create_capture(context: SourceContext[PollingOptions]) -> ChangeCapture:
    from flusso_source_polling.capture import PollingCapture

    return PollingCapture(context)


def _create_builder(context: SourceContext[PollingOptions]) -> DocumentBuilder:
    from flusso_source_polling.builder import PollingBuilder

    return PollingBuilder(context)
