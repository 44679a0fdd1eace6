"""Images whose segments are drawn or scatter, for tests of comparisons."""

import random
from dataclasses import replace

from traces_builder import MS, at, critical_path, critical_path_of, segment

from otel_kfs.analysis import comparison
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.skew_correction import correct_skew

MB = 1_000_000
SEGMENTS = {"client": 3, "encode": 40, "transformer preprocess": 200, "predictor predict": 20}  # ms


def image(lengths, **more):
    """A path with segments of these lengths, ns."""
    way, start = [], at(0)
    for name, length in lengths.items():
        way.append(Section(segment(name), start, start + length))
        start += length
    stamps = (at(0), at(0), at(0), start)
    return replace(critical_path(0, 0, 0, 0, sections=tuple(way), **more), stamps=stamps)


def images(n, seed, shift=None, **more):
    """Images whose segments scatter by a tenth of their lengths; `shift` adds milliseconds to some."""
    scatter = random.Random(seed)
    return [
        image(
            {
                name: round(MS * (scatter.gauss(1, 0.1) * length + (shift or {}).get(name, 0)))
                for name, length in SEGMENTS.items()
            },
            **more,
        )
        for _ in range(n)
    ]


def drawn(way, **more):
    """A path with these segments."""
    found = critical_path_of(way)
    stamps = (at(0), at(0), at(0), found.stamps[3])
    return replace(critical_path(0, 0, 0, 0, sections=found.sections, hosts=found.hosts, **more), stamps=stamps)


def all_series(*paths):
    return correct_skew(measured(paths))[0]


def compared(a, b):
    """The comparison of two series, of one size and labels each."""
    (found,) = comparison.compare(all_series(*a), all_series(*b)).of_sizes
    return found
