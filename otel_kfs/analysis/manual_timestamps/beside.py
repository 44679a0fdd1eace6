"""Hand-stamped rows beside the traced images of the same sizes."""

from __future__ import annotations

from collections.abc import Sequence

from otel_kfs import semconv
from otel_kfs.analysis.manual_timestamps.stamp_tables import Block, megabytes, words_of
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.errors import InputError
from otel_kfs.report.rows import Column, Table, bounded, stamp_notes

_TRANSPORT_WORDS = {
    semconv.KAFKA: ("kafka", "topic"),
    semconv.HTTP: ("http", "https", "curl", "rest", "ingress"),
}
_SAME_SIZE = 0.07  # two sizes that differ by no more are one: labels are rounded, and MB may be 2^20 bytes


def beside(found: Sequence[Block], cells: Sequence[Series], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """For each block of four stamps a table of what its stamps say, beside the median image of the same size in traces.

    The cells, and how far what lies between two hosts may be off in them, are those of `skew_correction.correct_skew`.

    Raises:
        InputError: no block has four stamps.
    """
    four = [block for block in found if len(block.headings) == 4]
    if not four:
        raise InputError("only rows of four stamps can stand beside traces, whose stamps are four")
    return [_beside(block, cells, bounds) for block in four]


def _beside(block: Block, cells: Sequence[Series], bounds: Bounds) -> Table:
    transport = _transport(block, cells)
    of_way = [cell for cell in cells if transport in {None, cell.way.transport}]
    of_rows = _of_sizes(block, of_way)
    rows: list[tuple[object, ...]] = []
    unmatched = []
    for row in range(len(block.stamps)):
        labels = [labels[row] for labels in (block.labels, block.length_labels) if labels]
        cell = of_rows[row]
        row_of: list[object] = [labels[0] if labels else f"row {row + 1}"]
        number = None if cell is None else cell.median()
        for later, earlier in ((1, 0), (2, 1), (3, 2), (3, 0)):
            hand = block.between(row, later, earlier)
            row_of.append(None if hand is None else int(hand.scaleb(9)))
            if cell is None or number is None:
                row_of.append(None)
            else:
                length = cell.stamps[later][number] - cell.stamps[earlier][number]
                row_of.append(bounded(length, bounds.get((cell.way, cell.size, f"{later + 1}-{earlier + 1}"))))
        row_of.append(None if cell is None else len(cell))
        rows.append(tuple(row_of))
        if cell is None:
            unmatched.append(str(row_of[0]))
    notes = [
        "by hand: the difference of the stamps themselves, whatever the columns say; traced: the median image of n"
    ]
    if transport is None:
        notes.append("nothing says whether this is HTTP or Kafka: the traced images are of either")
    if unmatched:
        notes.append(f"no traced image is of this size: {', '.join(unmatched)}")
    notes += stamp_notes([cell for cell in of_rows if cell is not None], bounds)
    columns = [Column("Size", "text")]
    for heading in ("2-1", "3-2", "4-3", "4-1"):
        columns += [Column(f"{heading} by hand", "seconds"), Column("traced", "seconds")]
    columns.append(Column("n", "count"))
    return Table(f"{block.section or 'Stamps'}: seconds, by hand and traced", tuple(columns), tuple(rows), tuple(notes))


def _transport(block: Block, cells: Sequence[Series]) -> str | None:
    said = words_of(block.section)
    for transport, words in _TRANSPORT_WORDS.items():
        if any(word in said for word in words):
            return transport
    there = {cell.way.transport for cell in cells}
    return there.pop() if len(there) == 1 else None


def _of_sizes(block: Block, cells: Sequence[Series]) -> list[Series | None]:
    """For each row the cell of its size: by the images' sizes or by their payloads', whichever fits more rows.

    What is left is matched by the other: labels of either kind occur in one table.
    """
    labels = [
        [size for of_row in (block.labels, block.length_labels) if of_row and (size := megabytes(of_row[row]))]
        for row in range(len(block.stamps))
    ]
    kinds = ([cell.image_size for cell in cells], [cell.payload_size for cell in cells])
    by_kind = [_nearest(labels, sizes) for sizes in kinds]
    first, second = sorted(by_kind, key=len, reverse=True)
    left = {row: number for row, number in second.items() if row not in first and number not in first.values()}
    matched = first | left
    return [cells[matched[row]] if row in matched else None for row in range(len(labels))]


def _nearest(labels: Sequence[Sequence[float]], sizes: Sequence[int | None]) -> dict[int, int]:
    """Rows and the numbers of the sizes that are nearest to their labels, each once."""
    distances = sorted(
        (abs(size / 1e6 - label) / label, row, number)
        for row, of_row in enumerate(labels)
        for label in of_row
        if label > 0
        for number, size in enumerate(sizes)
        if size is not None
    )
    found: dict[int, int] = {}
    for distance, row, number in distances:
        if distance <= _SAME_SIZE and row not in found and number not in found.values():
            found[row] = number
    return found
