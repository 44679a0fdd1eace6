"""Segments and the two tables of 2020 as records."""

from dataclasses import replace

import pytest
from traces_builder import MS, at, critical_path, critical_path_of, segment

from otel_kfs.analysis.measurement import Labels, measured
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.report.records import segment_records

WAY = {"transport": "http", "encoding": "", "compression": "", "cell": ""}


def cells(paths):
    """Their series."""
    return correct_skew(measured(paths))[0]


def test_records_of_the_two_tables_are_exact_and_name_their_image():
    drawn = [critical_path(0, 45, 190, 423), replace(critical_path(0, 45, 191, 424), trace_id="b")]
    assert segment_records.seed_records(cells(drawn)) == [
        {
            **WAY,
            "size": "1.1MB",
            "n": 2,
            "trace_id": "a",
            "1": "1600000000.000000000",
            "2": "1600000000.045000000",
            "3": "1600000000.190000000",
            "4": "1600000000.423000000",
            "2-1": "0.045000000",
            "3-2": "0.145000000",
            "4-3": "0.233000000",
            "4-1": "0.423000000",
            "clock_bound_2-1": None,
            "clocks_2-1": "exact",
            "clock_bound_3-2": None,
            "clocks_3-2": "exact",
            "clock_bound_4-3": None,
            "clocks_4-3": "exact",
            "clock_bound_4-1": None,
            "clocks_4-1": "exact",
            "stamp_1_ns": at(0),
            "stamp_2_ns": at(45),
            "stamp_3_ns": at(190),
            "stamp_4_ns": at(423),
            "2-1_ns": 45 * MS,
            "3-2_ns": 145 * MS,
            "4-3_ns": 233 * MS,
            "4-1_ns": 423 * MS,
            "size_low_bytes": 1_100_000,
            "size_high_bytes": 1_100_000,
        }
    ]


def test_records_of_segments_end_with_the_whole():
    drawn = cells([critical_path_of("client 10, encode 20"), critical_path_of("client 30, encode 40")])
    nothing = dict.fromkeys(["p50_low_ns", "p50_high_ns", "p90_ns", "p95_ns", "p99_ns", "clock_bound_ns"])
    nothing["widest_clock_bound_ns"] = None
    sizes = {"size": "1.1MB", "size_low_bytes": 1_100_000, "size_high_bytes": 1_100_000}
    first = WAY | sizes | {"n": 2, "sd_ns": 14142136, "clocks": "exact"} | nothing
    assert segment_records.segment_records(drawn) == [
        first | {"segment": "client", "mean_ns": 20 * MS, "p50_ns": 20 * MS, "max_ns": 30 * MS},
        first | {"segment": "encode", "mean_ns": 30 * MS, "p50_ns": 30 * MS, "max_ns": 40 * MS},
        first | {"segment": "4-1", "sd_ns": 28284271, "mean_ns": 50 * MS, "p50_ns": 50 * MS, "max_ns": 70 * MS},
    ]


def test_a_segment_between_two_hosts_has_its_bound_in_its_record():
    drawn = cells([critical_path_of("transformer request 5!")])
    records = segment_records.segment_records(
        drawn, {(Labels("http"), "1.1MB", segment("transformer request")): 2 * MS}
    )
    assert [record["clock_bound_ns"] for record in records] == [2 * MS, None]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        (1_593_068_399_853_000_001, "1593068399.853000001"),
    ],
)
def test_seconds_are_exact(nanoseconds, text):
    assert segment_records.seconds(nanoseconds) == text
