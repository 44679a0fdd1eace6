"""Tables of times stamped by hand, as in 2020: which columns follow from the stamps, and what the others seem to be."""

from otel_kfs.analysis.manual_timestamps.beside import Beside, beside
from otel_kfs.analysis.manual_timestamps.stamp_checks import Finding, check
from otel_kfs.analysis.manual_timestamps.stamp_tables import Block, blocks

__all__ = ["Beside", "Block", "Finding", "beside", "blocks", "check"]
