"""Images of an experiment's cells with segments of given lengths, and their ranking."""

import random
from dataclasses import replace

from experiment_support import OWN, configured
from traces_builder import MS, at, critical_path, segment

from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.experiment import ranking

TEXT = f'images = ["a.jpg"]\n{OWN}bootstrap_servers = "b:1"\n[matrix]\ntransport = ["http", "kafka"]\n'
TEXT += 'encoding = ["json", "raw"]'
SEGMENTS = {"encode": 40, "transformer decode": 100, "predictor predict": 20}  # ms


def image(label, lengths, transport="http", **more):
    """Make a path of that cell with segments of these lengths, ms."""
    sections, start = [], at(0)
    for name, length in lengths.items():
        sections.append(Section(segment(name), start, start + round(length * MS)))
        start = sections[-1].end
    drawn = critical_path(0, 0, 0, 0, sections=tuple(sections), cell=label, transport=transport, **more)
    return replace(drawn, stamps=(at(0), at(0), at(0), start))


def images(label, n=20, shift=None, seed=0, **more):
    """Make images whose segments scatter by a hundredth; `shift` adds milliseconds to some."""
    scatter = random.Random(f"{label}{seed}{more}")
    lengths = {name: length + (shift or {}).get(name, 0) for name, length in SEGMENTS.items()}
    return [
        image(label, {name: length * scatter.gauss(1, 0.01) for name, length in lengths.items()}, **more)
        for _ in range(n)
    ]


def ranked(*paths, text=TEXT):
    """Rank images by the experiment of this text."""
    return ranking.rankings(measured([one for some in paths for one in some]).all_series(), configured(text))
