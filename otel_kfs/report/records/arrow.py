"""Records as Apache Arrow: tables in memory, and Parquet files.

A column's type is what its record declares: whole numbers are int64 (times and durations are ns, sizes bytes), names
that come again and again are dictionaries, ids are plain text. Stamps are int64, too, not timestamps: so they are the
same numbers as in JSON and CSV, and programs that know no Parquet timestamps of ns read them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from otel_kfs.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import pyarrow as pa

_IDS = frozenset({"trace_id", "root_span_id"})
_AT_ONCE = 50_000  # records in memory, and in a file's row group


def schema(record: type) -> pa.Schema:
    """Return the columns of records of a TypedDict.

    Raises:
        MissingExtra: pyarrow is not installed.
        ConfigError: it can't be imported.
    """
    pa = needed()
    types = {
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        str: pa.dictionary(pa.int32(), pa.string()),
    }
    fields = []
    for name, hint in get_type_hints(record).items():
        kinds = get_args(hint) or (hint,)
        kind = pa.string() if name in _IDS else types[kinds[0]]
        fields.append(pa.field(name, kind, nullable=type(None) in kinds))
    return pa.schema(fields)


def table(records: Iterable[Mapping[str, Any]], record: type) -> pa.Table:
    """Return records of a TypedDict as one table.

    Raises:
        MissingExtra: pyarrow is not installed.
        ConfigError: it can't be imported.
    """
    columns = schema(record)
    # A dictionary for each batch would only have to be made one again.
    return needed().Table.from_batches(_batches(records, columns), columns).unify_dictionaries()


def parquet_pieces(records: Iterable[Mapping[str, Any]], record: type) -> Iterator[bytes]:
    """Yield the same as a Parquet file, some records at a time.

    Raises:
        MissingExtra: pyarrow is not installed.
        ConfigError: it can't be imported.
    """
    columns, file = schema(record), _Pieces()
    from pyarrow import parquet

    with parquet.ParquetWriter(file, columns, compression="zstd") as writer:
        for batch in _batches(records, columns):
            writer.write_batch(batch)
            yield file.taken()
    yield file.taken()


def needed() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtra: it is not installed.
        ConfigError: it can't be imported, as beside a numpy that is older than it takes.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtra("pyarrow", "arrow") from error
    except ImportError as error:
        raise ConfigError(f"pyarrow can't be imported: {error}") from error
    return pyarrow


def _batches(records: Iterable[Mapping[str, Any]], columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    pa, rest = needed(), iter(records)
    while some := list(islice(rest, _AT_ONCE)):
        arrays = [pa.array([_sound(one[field.name]) for one in some], field.type) for field in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=columns)


def _sound(value: Any) -> Any:
    """Return text with a question mark for each half of a character, which no UTF-8 can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


class _Pieces(io.RawIOBase):
    """A file that hands out what was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._written, self._at = bytearray(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, content: Any) -> int:
        self._written += content
        self._at += len(content)
        return len(content)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        taken, self._written = bytes(self._written), bytearray()
        return taken
