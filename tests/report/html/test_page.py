"""The HTML file as a parser sees it: what it holds, that it asks nobody for anything, and that names stay names."""

import base64
import hashlib
import random
import re
from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from html_support import Parsed
from report_support import HOSTILE, ORIGIN, SIZES, contents_of, image, measurement_of_both_transports
from traces_builder import HTTP, MS, critical_path, critical_path_of, sections, with_options

from otel_kfs import semconv
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.report.contents import contents
from otel_kfs.report.html.page import page
from otel_kfs.traces.span import Span


@pytest.fixture(scope="module")
def parsed():
    return Parsed(page(contents_of(measurement_of_both_transports())))


def test_the_head_says_what_was_measured_and_how_it_was_made(parsed):
    assert "18 images measured." in parsed.text
    assert "otel-kfs report --trace-query traces/" in parsed.text
    assert "2020-09-13 12:26:40 to 12:26:42 UTC" in parsed.text
    assert "otel-kfs 1.2.3, 2026-01-31 12:00 UTC" in parsed.text


def test_the_tables_of_2020_are_there_for_each_set_of_labels(parsed):
    # The median image of 1.1 MB is 0.32 times as long as drawn.
    assert parsed.tables["table 2"][:2] == [
        ["Size", "1", "2", "3", "4"],
        ["1.1MB", "1600000000.000", "1600000000.064", "1600000000.128", "1600000000.320"],
    ]
    assert parsed.tables["table 3"][0] == ["Size", "2-1", "3-2", "4-3", "total (4-1)"]


def test_each_segment_of_each_series_is_a_row(parsed):
    rows = [dict(zip(parsed.tables["all"][0], row, strict=True)) for row in parsed.tables["all"][1:]]
    assert rows[1] == {
        "Way": "HTTP",
        "Size": "1.1MB",
        "Segment": "encode",
        "n": "3",
        "mean": "32.00",
        "sd": "10.00",
        "p50": "32.00",
        "95% interval": "",
        "max": "42.00",
        "share": "10.0%",
        "median": "h1100000",
        "slowest": "h1100000",
    }
    assert [row["Segment"] for row in rows].count("total (4-1)") == 6


def test_costs_stand_in_a_table(parsed):
    assert parsed.tables["costs"][0] == ["Way", "Segment", "Fixed, ms", "\u00b1", "ms per MB", "\u00b1", "n"]
    assert parsed.tables["costs"][1][:3] == ["HTTP", "total (4-1)", "100.00"]
    assert parsed.tables["costs"][1][4] == "200.00"


def test_every_series_has_a_waterfall_and_every_segment_a_distribution(parsed):
    ids = parsed.values("id")
    assert sum(one.startswith("waterfall-") for one in ids) == 6
    assert sum(one.startswith("spread-") for one in ids) == 1 + len(
        contents_of(measurement_of_both_transports()).segments
    )


def test_nothing_is_asked_for_anywhere(parsed):
    asking = {"src", "srcset", "action", "data", "poster", "background", "xlink:href"}
    assert [a for a in parsed.attributes if a[1] in asking] == []
    assert parsed.tags.keys() & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()
    assert all(link.startswith("#") for link in parsed.values("href"))
    for text in parsed.raw.values():
        assert "http" not in text
        assert "url(" not in text
        assert "import" not in text


def test_the_policy_allows_the_files_own_style_and_script_alone(parsed):
    def hashed(text):
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    (policy,) = [value for value in parsed.values("content") if value.startswith("default-src")]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashed(parsed.raw['style'])}'; "
        f"script-src 'sha256-{hashed(parsed.raw['script'])}'; base-uri 'none'; form-action 'none'"
    )
    assert parsed.values("style") == []


def test_ids_are_unique_and_every_anchor_leads_somewhere(parsed):
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in parsed.values("href")} <= set(ids)


def hostile(name):
    """An image all of whose names are that one."""

    def renamed(span):
        return msgspec.structs.replace(
            span,
            service=name,
            host=name if span.name == semconv.SEND_IMAGE else span.host,
            name=name if span.name.startswith("POST") else span.name,
        )

    spans = image("a", **{semconv.CELL: name, semconv.RUN_ID: name})
    larger = image("b", size=SIZES[2], factor=3, **{semconv.CELL: name})
    return [[renamed(span) for span in of_one] for of_one in (spans, larger)]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_stay_names(name):
    def of(name):
        origin = replace(ORIGIN, query=name, command=name)
        found = contents_of(hostile(name))
        found.measurement.coverage.left_out[name] = 3
        return Parsed(page(replace(found, origin=origin)))

    found, plain = of(name), of("plain")
    # Where a name is too long to be drawn, a text may be missing, but nothing is added.
    assert found.tags - plain.tags == Counter()
    assert {(tag, key) for tag, key, _ in found.attributes} == {(tag, key) for tag, key, _ in plain.attributes}
    assert found.raw == plain.raw


def test_a_hosts_name_that_is_hostile_stays_a_name_in_the_method_too():
    crossing = with_options(HTTP, "POST /v1/models", "@</li><script>window.ran=1</script>")
    assert Parsed(page(contents_of([image("a", drawing=crossing)]))).tags["script"] == 1


def test_a_trace_id_is_a_link_where_the_store_has_a_page():
    found = Parsed(page(contents_of([image("a")], link=lambda one: f'https://jaeger.example/trace/{one}?x="><b>')))
    links = [value for value in found.values("href") if not value.startswith("#")]
    assert set(links) == {'https://jaeger.example/trace/a?x="><b>'}
    # The median's and the slowest's of each row, and the one above the waterfall.
    assert len(links) == 2 * 19 + 1


def test_two_clocks_are_told_of_with_their_bounds():
    crossing = with_options(HTTP, "POST /v1/models", "@elsewhere")
    found = Parsed(page(contents_of([image("a", drawing=crossing)])))
    column = found.tables["all"][0].index("\u00b1 clocks")
    shown = {row[2]: float(row[column]) for row in found.tables["all"][1:] if row[column]}
    assert shown == {
        "transformer request": pytest.approx(25, abs=1),
        "transformer response": pytest.approx(25, abs=1),
    }
    text = found.text.replace("\n", "")
    assert "Hostselsewhere, host: more than one clock" in text
    assert "clocks: host is 5.0 \u00b125.5 ms ahead of elsewhere" in text


def test_one_clock_needs_no_such_column(parsed):
    assert "\u00b1 clocks" not in parsed.tables["all"][0]


def test_few_images_are_warned_of(parsed):
    assert "HTTP, 1.1MB (n = 3)" in parsed.text


def test_images_of_one_size_and_without_spans_are_still_a_report():
    found = Parsed(page(contents_of([image("a")], spans=lambda _: ())))
    assert "costs" not in found.tables
    assert {"size", "traces"} & set(found.values("id")) == {"traces"}
    assert "once more: HTTP, 1.1MB (the store has no span of the trace a)." in found.text


# --- runs ---


def of_runs(*runs):
    """The text of a report of images of these runs; "" has none."""
    images = [image(f"a{number}-", **({semconv.RUN_ID: run} if run else {})) for number, run in enumerate(runs)]
    return Parsed(page(contents_of(images))).text


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (["a", "a"], "Runa\n"),
        (["b", "a", "b"], "Runsa, b\n"),
        (["a", "", "b"], "Runsa, b, and images without a run id\n"),
        ([f"{number:02}" for number in range(22)], "18, 19 and 2 more\n"),
        (["", ""], "UTC\nMade by"),
    ],
)
def test_the_head_names_the_runs_of_all_images(runs, said):
    assert said in of_runs(*runs)


def test_very_many_runs_are_said_to_be_so():
    found = contents_of([image("a")])
    found.measurement.runs.many = True
    assert "Runsmore than 1000\n" in Parsed(page(found)).text


# --- linked traces ---


def test_a_linked_trace_is_named_and_led_to_wherever_the_image_s_is():
    images = [image(f"k{n}", consumer=f"c{n}", factor=1 + n) for n in range(3)]
    found = Parsed(page(contents_of(images, link=lambda one: f"https://jaeger.example/{one}")))
    assert "total (4-1) 2000 ms, the median of 3 \u00b7 trace k1, linked trace c1" in found.text
    head, row = found.tables["all"][0], found.tables["all"][1]
    assert (row[head.index("median")], row[head.index("slowest")]) == ("k1 + c1", "k2 + c2")
    assert {"k1 c1", "k2 c2"} <= set(found.values("data-copy"))
    links = Counter(link for link in found.values("href") if not link.startswith("#"))
    assert links["https://jaeger.example/k1"] == links["https://jaeger.example/c1"] > 1
    assert "the vertical line beside the names shows how far it goes" in found.text


def test_without_linked_traces_none_is_spoken_of(parsed):
    assert "linked" not in parsed.text


def test_an_image_whose_linked_trace_is_gone_is_named_with_it():
    images = [image("k", consumer="c"), image("h")]
    found = Parsed(page(contents_of(images, spans=lambda _: [s for one in images for s in one if s.trace_id != "c"])))
    assert (
        "Not drawn, because their path could not be found once more: Kafka, 1.1MB (the store has no span of the "
        "linked trace c)."
    ) in found.text
    assert "Spans of the median image: HTTP, 1.1MB" in found.text


def test_a_consumer_s_trace_that_was_not_asked_for_is_thought_of():
    sent = [span for span in image("k", consumer="c") if span.trace_id == "k"]
    text = Parsed(page(contents_of([image("h"), sent]))).text
    assert "1 for \u201cdelivered, but not processed\u201d. An image also counts as " in text
    assert "has a linked trace that the query did not find: ask Jaeger" in text


def test_images_of_unknown_size_are_still_a_report():
    found = measured([critical_path(0, 1, 2, 3, image_size=None, sections=sections("client 3"))])
    assert Parsed(page(contents(corrected(found), ORIGIN))).tables["all"][1][:3] == ["HTTP", "?", "client"]


def test_ten_series_of_a_thousand_images_are_less_than_two_megabytes():
    chance = random.Random(1)
    of_way = (
        "client {}, encode {}, transformer receive {}, transformer decode {}, transformer preprocess {}, predictor {}"
    )
    found = []
    for transport in ("http", "kafka"):
        for size in range(1, 6):
            for number in range(1000):
                parts = sections(of_way.format(*(chance.randrange(1, 500) for _ in range(6))))
                end = (parts[-1].end - parts[0].start) // MS
                found.append(
                    critical_path(
                        0,
                        1,
                        2,
                        end,
                        trace_id=f"{number:032x}",
                        transport=transport,
                        image_size=size * 10**6,
                        sections=parts,
                    )
                )
    assert len(page(contents(corrected(measured(found)), ORIGIN)).encode()) < 2_000_000


def test_every_name_of_a_span_is_shown(parsed):
    shown = {one.name for one in image("a") if isinstance(one, Span)}
    assert {name for name in shown if name not in parsed.text} == set()


def test_a_median_image_whose_spans_are_gone_is_named():
    images = [image("a"), image("b", size=SIZES[1])]
    assert (
        "their path could not be found once more: HTTP, 3.3MB (the store has no span of the trace b)."
        in Parsed(page(contents_of(images, spans=lambda _: images[0]))).text
    )


def test_no_share_and_no_cost_of_what_nothing_bounds_is_without_a_mark():
    path = critical_path_of("client 10, broker 5000!, bridge 5")
    images = [replace(path, image_size=size) for size in (1_000_000, 9_000_000) for _ in range(6)]
    html = page(contents(corrected(measured(images)), ORIGIN))
    glance, costs = (re.search(rf'<table id="{name}".*?</table>', html, re.DOTALL)[0] for name in ("glance", "costs"))
    assert re.findall(r"</bdi> ([^<]*)</span>", glance) == ["?"] * 6
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in costs.split("<tr") if "<td" in row]
    assert [row[2::3] for row in (of[-7:-1] for of in rows)] == [["?", "?"], ["", ""], ["?", "?"], ["", ""]]
    shares = re.findall(r'<td data-value="-?[01]\.\d{6}">([^<]*)</td>', html)
    assert shares == ["?", "?", "?", "100.0%"] * 2
    intervals = re.findall(r'<td class="text pm interval"[^>]*>([^<]*)</td>', html)
    assert intervals == ["10.00 to 10.00", "", "5.00 to 5.00", ""] * 2
