"""Two readings side by side: which is slower, by how much, and in which segment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_kfs.analysis.comparison import Comparisons
from otel_kfs.errors import ConfigError
from otel_kfs.reader.data_frames import arrow_table, pandas_frame, polars_frame
from otel_kfs.reader.html_view import html_view
from otel_kfs.reader.output_file import write_file
from otel_kfs.report import documents
from otel_kfs.report.records.comparison_records import ComparisonRecord, comparison_records
from otel_kfs.report.tables.comparison_rows import sentences, verdict
from otel_kfs.traces.printable import printable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True, eq=False, repr=False)
class ReadingComparison:
    """What `Reading.compare` found, of each size that both readings have: A is the reading itself, B the other one.

    A test of CI asserts that `slower(0.1)` is empty.
    """

    _found: Comparisons
    _a: tuple[str, str]  # of each side the query, without credentials, and a line on what was measured
    _b: tuple[str, str]

    def __repr__(self) -> str:
        return f"<ReadingComparison: {printable('; '.join(sentences(self._found)))}>"

    def _repr_html_(self) -> str:
        return html_view(self.sentence)

    @property
    def sentence(self) -> str:
        """What was found, in a line for each size, and a line on what could not be compared."""
        return "\n".join(map(printable, sentences(self._found)))

    def rows(self) -> list[ComparisonRecord]:
        """Return a row for each size and segment, `4-1` the last of each size; durations in ns, shares of A's p50.

        They are the records of `otel-kfs compare --format json`.
        """
        return comparison_records(self._found)

    def to_arrow(self) -> pa.Table:
        """Return `rows()` as a pyarrow.Table: int64, float64, and dictionaries of names.

        Raises:
            MissingExtra: pyarrow is not installed.
            ConfigError: it can't be imported, as beside a numpy older than 2.
        """
        return arrow_table(self.rows(), ComparisonRecord)

    def to_pandas(self) -> pd.DataFrame:
        """Return `rows()` as a pandas.DataFrame: int64, Int64 where a number may be missing, and categories of names.

        Raises:
            MissingExtra: pandas or pyarrow is not installed.
            ConfigError: pyarrow can't be imported, as beside a numpy older than 2.
        """
        return pandas_frame(self.rows(), ComparisonRecord)

    def to_polars(self) -> pl.DataFrame:
        """Return `rows()` as a polars.DataFrame: Int64, Float64, and Categorical of names.

        Raises:
            MissingExtra: polars or pyarrow is not installed.
            ConfigError: pyarrow can't be imported, as beside a numpy older than 2.
        """
        return polars_frame(self.rows(), ComparisonRecord)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as an HTML file, as `otel-kfs compare --format html` does.

        Raises:
            ConfigError: the file can't be written, or its name does not end with `.html`.
            MissingExtra: what the report needs is not installed.
        """
        output = Path(path)
        if documents.file_format(output) != "html":
            raise ConfigError(f"unknown format of {output}: let its name end with .html")
        documents.load_libraries("html")
        (a, _), (b, _) = self._a, self._b
        command = f"otel_kfs.read({a!r}).compare(otel_kfs.read({b!r})).report({str(output)!r})"
        write_file([documents.comparison_file(self._found, self._a, self._b, command=command)], output)

    def slower(self, by: float = 0.0) -> list[str]:
        """Return the sentence of each size at which B takes longer by more than a share of A's p50, beyond noise.

        `by=0.1` is 10 %. Empty if B is slower nowhere: `assert before.compare(after).slower(0.1) == []`.

        Raises:
            ConfigError: there are too few images to ever tell a difference from noise.
        """
        if why := self._found.too_few():
            raise ConfigError(f"the comparison {why}")
        return [printable(verdict(of)) for of in self._found.slower(by)]
