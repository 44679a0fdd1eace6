"""What was read of some traces: every image, as rows, data frames, a sentence, a comparison and a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otel_kfs.analysis import comparison
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import AnySeries, SketchedSeries
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.errors import ConfigError
from otel_kfs.reader.data_frames import arrow_table, pandas_frame, polars_frame
from otel_kfs.reader.html_view import html_view
from otel_kfs.reader.output_file import write_file
from otel_kfs.reader.reading_comparison import ReadingComparison
from otel_kfs.report import answer, documents
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.records.image_records import ImageRecord, image_records
from otel_kfs.report.records.segment_records import SegmentRecord, segment_records
from otel_kfs.report.segment_names import segment_key
from otel_kfs.traces.printable import excerpt

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

What = Literal["images", "segments", "summary"]
_RECORDS: dict[What, type] = {"images": ImageRecord, "segments": SegmentRecord, "summary": SegmentRecord}


@dataclass(frozen=True, eq=False, repr=False)
class Reading:
    """Every image that a trace query found, with the hosts' clocks corrected: what `otel_kfs.read` returns.

    Durations are whole ns, stamps ns since the epoch, sizes bytes. Where a figure may be off because its ends were read
    on the clocks of two hosts, `clocks` says `bounded`, and `clock_bound_ns` by how much either way; or `unbounded`.
    `len(reading)` is the number of images. In a notebook it shows itself as the answer, and a chart of the segments.

    `query`: where it was read from, without credentials. `left_out`: how many images were left out, by reason.
    """

    query: str
    _measurement: CorrectedMeasurement[AnySeries]

    def __len__(self) -> int:
        return sum(len(series) for series in self._measurement.series)

    def __repr__(self) -> str:
        coverage, series = self._measurement.coverage, len(self._measurement.series)
        what = f"{len(self)} {coverage.what}{'' if len(self) == 1 else 's'} in {series} series"
        left_out = f" ({sum(self.left_out.values())} left out)" if self.left_out else ""
        return f"<Reading of {what}{left_out} from {excerpt(self.query)}>"

    def _repr_html_(self) -> str:
        return html_view(self.answer.sentence, self._chart)

    @property
    def left_out(self) -> dict[str, int]:
        """How many images of the query could not be measured, by the reason; with `where` it stays what it was."""
        return dict(sorted(self._measurement.coverage.left_out.items()))

    @property
    def answer(self) -> answer.Answer:
        """What it shows: as a sentence or two (`.sentence`), and as data (`.data`, which JSON can hold)."""
        return answer.answer(self._measurement)

    def summary(self) -> list[SegmentRecord]:
        """Return a row for each way of sending and size: n, the total's percentiles, its interval and bound.

        They are the rows of `segments()` whose segment is `4-1`, from stamp 1 to stamp 4.
        """
        return [one for one in self.segments() if one["segment"] == segment_key(TOTAL)]

    def segments(self) -> list[SegmentRecord]:
        """Return a row for each way of sending, size and segment, in the order of the path, `4-1` the last.

        They are the records of `otel-kfs tables --layout segments --format json`. Intervals of medians need scipy, and
        are None without it.
        """
        return segment_records(self._measurement.series, self._measurement.bounds)

    def images(self) -> Iterator[ImageRecord]:
        """Yield a row for each image and segment: by way and size, then by stamp 1, then in the order of the path.

        They are the records of `otel-kfs tables --layout images --format json`, one in memory at a time.

        Raises:
            ConfigError: it was read with `sketch=True`, which keeps no single image.
        """
        return image_records(self._samples("images are").series)

    def to_arrow(self, what: What = "images") -> pa.Table:
        """Return `images()`, `segments()` or `summary()` as a pyarrow.Table: int64, text, and dictionaries of names.

        Stamps are int64, too: ns since the epoch, as in the rows.

        Raises:
            MissingExtra: pyarrow is not installed.
            ConfigError: pyarrow can't be imported, as beside a numpy older than 2; or images are wanted of sketches.
        """
        return arrow_table(*self._rows_of(what))

    def to_pandas(self, what: What = "images") -> pd.DataFrame:
        """Return the same as a pandas.DataFrame: int64, Int64 where a number may be missing, and categories of names.

        Raises:
            MissingExtra: pandas or pyarrow is not installed.
            ConfigError: pyarrow can't be imported, as beside a numpy older than 2; or images are wanted of sketches.
        """
        return pandas_frame(*self._rows_of(what))

    def to_polars(self, what: What = "images") -> pl.DataFrame:
        """Return the same as a polars.DataFrame: Int64, String, and Categorical of names.

        Raises:
            MissingExtra: polars or pyarrow is not installed.
            ConfigError: pyarrow can't be imported, as beside a numpy older than 2; or images are wanted of sketches.
        """
        return polars_frame(*self._rows_of(what))

    def _rows_of(self, what: What) -> tuple[Iterable[Mapping[str, Any]], type]:
        """Return some rows, and the TypedDict that they are of.

        Raises:
            ConfigError: there are no such rows, or they are of images, and it has sketches.
        """
        if what not in _RECORDS:
            raise ConfigError(f"what is {excerpt(repr(what), 40)}; it is one of {', '.join(_RECORDS)}")
        rows: Iterable[Mapping[str, Any]]
        rows = {"images": self.images, "segments": self.segments, "summary": self.summary}[what]()
        return rows, _RECORDS[what]

    def where(
        self,
        *,
        transport: str | None = None,
        encoding: str | None = None,
        compression: str | None = None,
        cell: str | None = None,
        size: str | None = None,
    ) -> Reading:
        """Return the reading of the images that have all these labels: `where(transport="kafka", size="1.1MB")`.

        Raises:
            ConfigError: no image has them; the message says which there are. Or it was read with `sketch=True`.
        """
        given = {"transport": transport, "encoding": encoding, "compression": compression, "cell": cell, "size": size}
        wanted = {key: value for key, value in given.items() if value is not None}
        samples = self._samples("images are")
        series = comparison.select(samples.series, wanted)
        coverage = replace(samples.coverage, measured=sum(map(len, series)))
        return Reading(self.query, replace(samples, series=series, coverage=coverage))

    def compare(self, other: Reading) -> ReadingComparison:
        """Compare with another reading, which is B, and this one A: how much slower B is, in which segment, how surely.

        Images are compared with images of the same size that were sent the same way, as `otel-kfs compare` does.

        Raises:
            ConfigError: they have nothing in common, or one was read with `sketch=True`.
            MissingExtra: scipy is not installed.
        """
        a, b = (side._samples("a comparison needs single images, which are") for side in (self, other))
        found = comparison.compare(a.series, b.series, a.bounds, b.bounds)
        sides = [(side.query, coverage_line(side._measurement.coverage)) for side in (self, other)]
        return ReadingComparison(found, *sides)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the HTML report to a file, or its charts where the path ends with `.svg` or `.png`.

        The median images' traces are read again, as by `otel-kfs report`.

        Raises:
            ConfigError: the file can't be written, its ending is another one, or it was read with `sketch=True`.
            MissingExtra: what the report needs is not installed.
            TraceQueryError: the store does not answer any more.
        """
        output = Path(path)
        format_ = documents.file_format(output)
        if format_ is None:
            raise ConfigError(f"unknown format of {output}: let its name end with .html, .svg or .png")
        documents.load_libraries(format_)
        command = f"otel_kfs.read({self.query!r}).report({str(output)!r})"
        samples = self._samples("a report draws single images, which are")
        content = documents.file_of(samples, format_, query=self.query, command=command)
        write_file([content], output)

    def _chart(self) -> str:
        """Draw the segments of each series, as SVG."""
        samples = self._samples("a chart is drawn of single images, which are")
        documents.load_libraries("svg")
        drawn = documents.file_of(samples, "svg", query=self.query, command="", charts=("segments",))
        assert isinstance(drawn, str)  # noqa: S101 - for mypy: SVG is text
        return drawn

    def _samples(self, what: str) -> CorrectedMeasurement[Series]:
        """Return the measurement if it has single images.

        Raises:
            ConfigError: it has sketches.
        """
        series = [one for one in self._measurement.series if isinstance(one, Series)]
        if any(isinstance(one, SketchedSeries) for one in self._measurement.series):
            raise ConfigError(f"{what} not kept where traces are read with sketch=True")
        return replace(self._measurement, series=series)  # type: ignore[return-value]
