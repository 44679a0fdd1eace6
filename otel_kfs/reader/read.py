"""The front door for Python: from a trace query and options to a reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from otel_kfs.analysis import corrected_measurement
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import AnySeries
from otel_kfs.reader.no_images import need_images
from otel_kfs.reader.reading import Reading
from otel_kfs.traces.query_url import joined, without_credentials


def read(
    query: str | os.PathLike[str],
    *,
    run: str | None = None,
    servers: str | Iterable[str] = (),
    stamps: str | os.PathLike[str] | None = None,
    strict: bool = False,
    lookback: str | timedelta | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    expect: int | None = None,
    wait: str | timedelta | None = None,
    tenant: str | None = None,
    services: str | Iterable[str] = (),
    traceql: str | None = None,
    grafana: str | None = None,
    datasource: str | None = None,
    database: str | None = None,
    table: str | None = None,
    sketch: bool = False,
    processes: int | None = 1,
    progress: Callable[[str], None] | None = None,
) -> Reading:
    """Read traces, and measure every image in them: the same as `otel-kfs tables` does.

    Args:
        query: Where the traces are: a file, a folder or a pattern, `jaeger:URL`, `tempo:URL` or `clickhouse:URL`, as
            for `otel-kfs tables`; options may be in it, too.
        run: Only the images of this run (send's `--run`).
        servers: Services (`service.name`) that are model servers, where neither their routes nor their spans show it.
        stamps: For traces of any program: the TOML file that says which spans' starts and ends are the stamps.
        strict: Files: fail if anything can't be read, instead of warning.
        lookback: Stores: how far back from `end`, as `"30m"`, `"1h"`, `"7d"` or a timedelta; by default one hour.
        start: Stores: the start of the window, instead of `lookback`: `"2026-01-31T12:00:00Z"` or a datetime; one
            without a time zone is UTC.
        end: Stores: its end, in the same way; by default now.
        expect: Stores: wait until there are this many complete images, and fail if there never are.
        wait: Stores: with `expect`, wait at most that long; by default 30 s.
        tenant: Stores: the tenant, if there are several.
        services: Jaeger: services in the traces; by default `image-sender`, or all if that has none.
        traceql: Tempo: the TraceQL query that finds the traces.
        grafana: Tempo: the URL of the Grafana to link traces to in a report.
        datasource: Tempo: the data source's uid in that Grafana.
        database: ClickHouse: the database that the Collector writes to.
        table: ClickHouse: the table there.
        sketch: Keep sketches instead of every duration, for very many images: percentiles are then within 1 %, and
            there are `summary()`, `segments()` and `answer` alone.
        processes: How many read side by side, at most; None is one for each core. New processes import the main module,
            as ever in Python: a script that asks for more than one does so under `if __name__ == "__main__"`.
        progress: Called with a few words on what is done.

    Returns:
        The reading, of at least one image.

    Raises:
        OtelKfsError: no image was measured; the message says why, and what there is. Or there is no room for temporary
            files, or a process was killed.
        TraceQueryError: the query can't be understood or answered.
        ConfigError: the stamps file can't be read or has mistakes, or options can't go together.
        MissingExtra: ddsketch is not installed, with `sketch`.
    """
    options: dict[str, object] = {
        "run": run,
        "server": servers,
        "stamps": stamps,
        "strict": strict,
        "lookback": lookback,
        "start": start,
        "end": end,
        "expect": expect,
        "wait": wait,
        "tenant": tenant,
        "service": services,
        "q": traceql,
        "grafana": grafana,
        "datasource": datasource,
        "database": database,
        "table": table,
    }
    given = {key: texts for key, value in options.items() if (texts := _texts(value))}
    whole = joined(os.fspath(query), given)
    measurement: CorrectedMeasurement[AnySeries]
    if sketch:
        measurement = corrected_measurement.read_sketches(whole, processes=processes, progress=progress)
    else:
        measurement = corrected_measurement.read(whole, processes=processes, progress=progress)
    need_images(measurement.coverage, without_credentials(whole), measurement.store)
    return Reading(without_credentials(whole), measurement)


def _texts(value: object) -> list[str]:
    """Return what was given for an option as a trace query has it: the texts, none where nothing was given."""
    if value is None or value is False:
        return []
    if value is True:
        return ["1"]
    if isinstance(value, timedelta):
        return [f"{value / timedelta(milliseconds=1):.0f}ms"]
    if isinstance(value, datetime):
        return [value.isoformat()]
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [str(one) for one in value]
    return [str(value)]
