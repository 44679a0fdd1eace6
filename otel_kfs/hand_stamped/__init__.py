"""Tables of times stamped by hand, as in 2020: which columns follow from the stamps, and what the others seem to be."""

from otel_kfs.hand_stamped.beside import beside
from otel_kfs.hand_stamped.checking import Finding, check
from otel_kfs.hand_stamped.reading import Block, blocks

__all__ = ["Block", "Finding", "beside", "blocks", "check"]
