"""Images whose segments are drawn or scatter, for tests of comparisons."""

import random
from dataclasses import replace

from traces_builder import MS, at, critical_path, sections, segment

from otel_kfs.analysis import comparison
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.path_builder import Section

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
    found = sections(way)
    return replace(critical_path(0, 0, 0, 0, sections=found, **more), stamps=(at(0), at(0), at(0), found[-1].end))


def all_series(*paths):
    return measured(paths).all_series()


def compared(a, b):
    """The comparison of two series, of one size and labels each."""
    (found,) = comparison.compare(all_series(*a), all_series(*b)).of_sizes
    return found
