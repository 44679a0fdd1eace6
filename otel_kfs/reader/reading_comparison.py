"""Two readings side by side: which is slower, by how much, and in which segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otel_kfs.analysis.comparison import Comparisons
from otel_kfs.errors import ConfigError
from otel_kfs.reader.html_view import html_view
from otel_kfs.report.comparison_rows import comparison_records, sentences, verdict
from otel_kfs.traces.printable import printable


@dataclass(frozen=True, eq=False, repr=False)
class ReadingComparison:
    """What `Reading.compare` found, of each size that both readings have: A is the reading itself, B the other one.

    A test of CI asserts that `slower(0.1)` is empty.
    """

    _found: Comparisons

    def __repr__(self) -> str:
        return f"<ReadingComparison: {printable('; '.join(sentences(self._found)))}>"

    def _repr_html_(self) -> str:
        return html_view(self.sentence)

    @property
    def sentence(self) -> str:
        """What was found, in a line for each size, and a line on what could not be compared."""
        return "\n".join(map(printable, sentences(self._found)))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each size and segment, `4-1` the last of each size; durations in ns, shares of A's p50.

        They are the records of `otel-kfs compare --format json`.
        """
        return comparison_records(self._found)

    def slower(self, by: float = 0.0) -> list[str]:
        """Return the sentence of each size at which B takes longer by more than a share of A's p50, beyond noise.

        `by=0.1` is 10 %. Empty if B is slower nowhere: `assert before.compare(after).slower(0.1) == []`.

        Raises:
            ConfigError: there are too few images to ever tell a difference from noise.
        """
        if why := self._found.too_few():
            raise ConfigError(f"the comparison {why}")
        return [printable(verdict(of)) for of in self._found.slower(by)]
