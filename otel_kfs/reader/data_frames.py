"""Rows as data frames: the columns have the same types whatever the traces hold."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otel_kfs.errors import MissingExtra
from otel_kfs.report.records import arrow

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def arrow_table(rows: Iterable[Mapping[str, Any]], record: type) -> pa.Table:
    """Return rows of a TypedDict as a pyarrow.Table: int64, text, and dictionaries of names.

    Raises:
        MissingExtra: pyarrow is not installed.
        ConfigError: it can't be imported, as beside a numpy older than 2.
    """
    return arrow.table(rows, record)


def pandas_frame(rows: Iterable[Mapping[str, Any]], record: type) -> pd.DataFrame:
    """Return the same as a pandas.DataFrame: int64, Int64 where a number may be missing, and categories of names.

    Raises:
        MissingExtra: pandas or pyarrow is not installed.
        ConfigError: pyarrow can't be imported, as beside a numpy older than 2.
    """
    pandas = _library("pandas")
    table = arrow_table(rows, record)
    integer = arrow.needed().int64()
    frame: pd.DataFrame = table.to_pandas(types_mapper={integer: pandas.Int64Dtype()}.get)
    always = [field.name for field in table.schema if field.type == integer and not field.nullable]
    return frame.astype(dict.fromkeys(always, "int64"))


def polars_frame(rows: Iterable[Mapping[str, Any]], record: type) -> pl.DataFrame:
    """Return the same as a polars.DataFrame: Int64, String, and Categorical of names.

    Raises:
        MissingExtra: polars or pyarrow is not installed.
        ConfigError: pyarrow can't be imported, as beside a numpy older than 2.
    """
    frame: pl.DataFrame = _library("polars").from_arrow(arrow_table(rows, record))
    return frame


def _library(name: str) -> Any:
    """Import a library that has an extra of its name.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(name, name) from error
