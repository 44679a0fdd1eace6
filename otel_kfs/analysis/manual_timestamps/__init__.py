"""Tables of times stamped by hand, as in 2020: which columns follow from the stamps, and what the others seem to be."""

from otel_kfs.analysis.manual_timestamps.timestamp_checks import Finding, check
from otel_kfs.analysis.manual_timestamps.timestamp_tables import Block, blocks
from otel_kfs.analysis.manual_timestamps.traced_comparison import Beside, beside

__all__ = ["Beside", "Block", "Finding", "beside", "blocks", "check"]
