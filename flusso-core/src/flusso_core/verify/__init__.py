"""Whether an index is right: a comparison of the source with what a sink serves."""

from flusso_core.verify.inquiry import Repair
from flusso_core.verify.report import Difference, Kind, Report
from flusso_core.verify.sample import Sample
from flusso_core.verify.served import NotComparable, require_capable
from flusso_core.verify.suspects import Verdict
from flusso_core.verify.verifier import Verifier

__all__ = [
    "Difference",
    "Kind",
    "NotComparable",
    "Repair",
    "Report",
    "Sample",
    "Verdict",
    "Verifier",
    "require_capable",
]
