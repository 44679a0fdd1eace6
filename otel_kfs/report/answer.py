"""The answer in one or two sentences, and the same as data: what comes first wherever a measurement is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from otel_kfs import semconv
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import AnySeries
from otel_kfs.analysis.findings import (
    Findings,
    LabelsDifference,
    Part,
    Parts,
    SeriesFinding,
    findings,
)
from otel_kfs.analysis.image_size import UNKNOWN
from otel_kfs.analysis.measurement import TRANSPORTS, Labels, by_labels
from otel_kfs.analysis.paths.segment import UNTRACED
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.enclosing import off, percent
from otel_kfs.report.records.segment_records import bound_or_none, certainty, interval_record, size_record
from otel_kfs.report.segment_names import segment_name

_FEW = 3  # ways of sending whose totals are all told
_NAMED_AT_MOST = 3
_ENOUGH = 0.8  # of the time: no further segment is named then
_NAMED_FROM = 0.1  # of the time; after the first segment
_SECOND = 1_000_000_000  # ns
_TEN_SECONDS = 10 * _SECOND
_MILLISECOND = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Answer:
    """What a measurement shows: as plain text of one or two sentences, and as what JSON can hold (durations in ns)."""

    sentence: str
    data: dict[str, Any]


def answer(measurement: CorrectedMeasurement[AnySeries]) -> Answer:
    """Return the answer of a measurement, of samples or of sketches; one without images says so."""
    if not measurement.series:
        what = measurement.coverage.what
        sentence = f"No {what} was measured: {coverage_line(measurement.coverage)}."
        return Answer(sentence, {"sentence": sentence, "series": []})
    found = findings(measurement.series, measurement.bounds)
    sentence = _sentence(found, measurement.coverage.what)
    return Answer(sentence, {"sentence": sentence, **_data(found)})


def _sentence(found: Findings, what: str) -> str:
    sentences = [f"{_totals(found, what)}: {'; '.join(_shares(found))}"]
    if clauses := _clauses(found, what):
        sentences.append(_capital("; ".join(clauses)))
    return " ".join(f"{sentence}." for sentence in sentences)


def _totals(found: Findings, what: str) -> str:
    """Say what an image takes, at which sizes and in which ways of sending."""
    an = "An" if what == "image" else "A"
    n = _counts(found.series, what)
    groups = by_labels(found.series)
    if len({one.size for one in found.series}) == 1 and len(groups) <= _FEW:
        told = [f"{_total(one)} {_how(one.labels)}" for one in found.series]
        return f"{an} {what}{_of(found.series[0].size)} takes {_listed(told)} ({n})"
    if len(groups) > _FEW:
        of_size = [one for one in found.series if one.size in found.sizes[-1:]]
        fast, slow = (end(of_size or found.series, key=lambda one: one.p50) for end in (min, max))
        size = _of(fast.size) if of_size else ""
        told = [f"{_total(one)}{'' if of_size else _at(one.size)} {_how(one.labels)}" for one in (fast, slow)]
        return f"In {len(groups)} ways of sending, {an.lower()} {what}{size} takes {' to '.join(told)} ({n})"
    told, before = [], list[str]()
    for labels, of_labels in groups.items():
        ends = [one for one in of_labels if one.size in found.sizes] or _ends(of_labels)
        sizes = [_at(one.size) for one in ends]
        totals = [f"{_total(one)}{'' if sizes == before else size}" for one, size in zip(ends, sizes, strict=True)]
        told.append(f"{_listed(totals)} {_how(labels)}")
        before = sizes
    return f"{an} {what} takes {'; '.join(told)} ({n})"


def _shares(found: Findings) -> list[str]:
    """Say which segments are most of the time; at the smallest size if that is another one there."""
    *smaller, last = found.parts
    told = [_shares_at(last, found, _named(last.parts))]
    for parts in smaller:
        if parts.largest and last.largest and parts.largest.segment != last.largest.segment:
            told.append(_shares_at(parts, found, [parts.largest]))
    return told


def _shares_at(of: Parts, found: Findings, named: Sequence[Part]) -> str:
    where = _where(of.size, found)
    if len(by_labels(found.series)) > len(of.labels):
        where += f" {_how(of.labels[0])}"
    unknown = [
        part for part in of.parts if part.share <= part.share_bound and part.share + part.share_bound > _NAMED_FROM
    ]
    if not any(part.mean or part.bound for part in of.parts):
        return "no segment takes any time"
    if not named or (not of.largest and len(unknown) > _NAMED_AT_MOST):
        return f"the clocks leave open how the time{where} is spent"
    first, *others = (
        f"{percent(part.share, part.share_bound)} {{}}`{segment_name(part.segment)}`{_rarity(part)}" for part in named
    )
    told = ", ".join([first.format(f"of the time{where} is "), *(one.format("") for one in others)])
    if not of.largest and unknown:
        names = _listed([f"`{segment_name(part.segment)}`" for part in unknown])
        told += f"; the clocks leave open how large {names} {'is' if len(unknown) == 1 else 'are'}"
    return told


def _clauses(found: Findings, what: str) -> list[str]:
    """Say which way of sending is faster, what grows with size, and what would save most."""
    told = []
    growth, difference, saving = found.growth, found.labels_difference, found.saving
    certainties = [one.certainty for one in (growth, difference) if one is not None]
    if "too few" in certainties:
        told.append(f"there are too few {what}s to tell differences from noise (it takes {found.needed} of each)")
    if difference is not None and difference.certainty != "too few":
        told.append(_difference(difference, found))
    if growth is not None and growth.certainty == "differs":
        if growth.largest is not None and growth.largest.share <= 1 and not math.isinf(growth.largest.share_bound):
            told.append(
                f"{percent(growth.largest.share, growth.largest.share_bound)} of the extra time of {growth.large} over "
                f"{growth.small} is `{segment_name(growth.largest.segment)}`{_rarity(growth.largest)}"
            )
        elif growth.largest is not None:
            told.append(
                f"what grows most from {growth.small} to {growth.large} is "
                f"`{segment_name(growth.largest.segment)}`, by {_duration(growth.largest.mean, growth.largest.bound)}"
            )
    elif growth is not None and growth.certainty == "noise":
        told.append(f"{growth.large} does not take longer than {growth.small} beyond noise")
    if saving is not None and saving.segment == UNTRACED:
        told.append("no span says what the server does; docs/serving.md says how to see inside")
    elif saving is not None and saving.segment is not None:
        saved = f"{_duration(saving.nanoseconds)}{_where(saving.size, found)}"
        told.append(f"most could be saved in `{segment_name(saving.segment)}`: up to {saved}")
    elif saving is not None and saving.fast is not None:
        told.append(f"most could be saved by sending {_how(saving.fast)}")
    return told


def _difference(of: LabelsDifference, found: Findings) -> str:
    slow, fast, size = _name(of.slow.labels), _name(of.fast.labels), _where(of.slow.size, found)
    if of.certainty == "differs":
        return f"{fast} is {_duration(of.difference, of.slow.bound + of.fast.bound)} faster than {slow}{size}"
    first, second = (slow, fast) if found.series.index(of.slow) < found.series.index(of.fast) else (fast, slow)
    if of.certainty == "noise":
        return f"{first} and {second} do not differ beyond noise{size}"
    return f"the clocks leave open whether {first} or {second} is faster{size}"


def _data(found: Findings) -> dict[str, Any]:
    growth, difference, saving = found.growth, found.labels_difference, found.saving
    return {
        "series": [
            {
                **one.labels._asdict(),
                "size": one.size,
                "n": one.n,
                "p50_ns": one.p50,
                **interval_record(one.interval, "p50_"),
                "clock_bound_ns": bound_or_none(one.bound),
                "clocks": certainty(one.bound),
                **size_record(one.size_range),
                "segments": [_part(part) for part in one.parts],
            }
            for one in found.series
        ],
        "largest": [
            {
                "size": one.size,
                "labels": [labels._asdict() for labels in one.labels],
                "segment": None if one.largest is None else segment_name(one.largest.segment),
                "share": None if one.largest is None else round(one.largest.share, 6),
            }
            for one in found.parts
        ],
        "difference": difference
        and {
            "size": difference.slow.size,
            "slow": difference.slow.labels._asdict(),
            "fast": difference.fast.labels._asdict(),
            "difference_ns": difference.difference,
            "certainty": difference.certainty,
        },
        "growth": growth
        and {
            "small": growth.small,
            "large": growth.large,
            "labels": [labels._asdict() for labels in growth.labels],
            "difference_ns": round(growth.difference),
            "certainty": growth.certainty,
            "segment": None if growth.largest is None else segment_name(growth.largest.segment),
            "share": None if growth.largest is None else round(growth.largest.share, 6),
        },
        "saving": saving
        and {
            "size": saving.size,
            "saved_ns": round(saving.nanoseconds),
            "segment": None if saving.segment is None else segment_name(saving.segment),
            "send": None if saving.fast is None else saving.fast._asdict(),
        },
        "images_needed": found.needed,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "segment": segment_name(part.segment),
        "images": part.images,
        "mean_ns": round(part.mean),
        "share": round(part.share, 6),
        "clock_bound_ns": bound_or_none(part.bound),
        "clocks": certainty(part.bound),
    }


def _named(parts: Sequence[Part]) -> list[Part]:
    """Return the segments that are most of the time, as far as the clocks let it be told."""
    named: list[Part] = []
    told = 0.0
    for part in parts:
        if part.share <= part.share_bound:
            continue
        if named and (len(named) == _NAMED_AT_MOST or told >= _ENOUGH or part.share < _NAMED_FROM):
            break
        named.append(part)
        told += part.share
    return named


def _rarity(part: Part) -> str:
    return f" (in {part.images} of {part.of})" if 2 * part.images < part.of else ""


def _counts(series: Iterable[SeriesFinding], what: str) -> str:
    """Say of how many images each figure is."""
    counts = sorted({one.n for one in series})
    if counts == [1]:
        return f"one {what} each" if len([*series]) > 1 else f"one {what}"
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"p50 of {n} {what}s{' each' if len([*series]) > 1 else ''}"


def _total(of: SeriesFinding) -> str:
    return _duration(of.p50, of.bound)


def _ends(of_labels: Sequence[SeriesFinding]) -> list[SeriesFinding]:
    return [of_labels[0], of_labels[-1]] if len(of_labels) > 1 else list(of_labels)


def _where(size: str, found: Findings) -> str:
    """Write a size where there are several."""
    return _at(size) if len({one.size for one in found.series}) > 1 else ""


def _at(size: str) -> str:
    return "" if size in {"", UNKNOWN} else f" at {size}"


def _of(size: str) -> str:
    return "" if size in {"", UNKNOWN} else f" of {size}"


def _name(labels: Labels) -> str:
    """Write `HTTP (raw, gzip)`."""
    transport, *rest = labels.label.split(", ")
    return f"{transport} ({', '.join(rest)})" if rest else transport


def _how(labels: Labels) -> str:
    """Write `over HTTP (raw, gzip)`."""
    preposition = "over" if labels.transport == semconv.HTTP else "through" if labels.transport in TRANSPORTS else "in"
    return f"{preposition} {_name(labels)}"


def _duration(nanoseconds: float, bound: float = 0) -> str:
    """Write a duration with the unit that suits it, and what the clocks leave open of it: `12.3 ms \u00b10.4 ms`."""
    if abs(nanoseconds) >= _TEN_SECONDS:
        unit, scale, digits = "s", _SECOND, 1
    else:
        unit, scale, digits = "ms", _MILLISECOND, 1 if abs(nanoseconds) >= _MILLISECOND else 3
    text = f"{nanoseconds / scale:.{digits}f} {unit}"
    if not bound:
        return text
    return f"{text} \u00b1{off(nanoseconds, bound, scale, digits)}{'' if math.isinf(bound) else f' {unit}'}"


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _capital(text: str) -> str:
    return text[0].upper() + text[1:] if text[0].isalpha() and text.split(maxsplit=1)[0].islower() else text
