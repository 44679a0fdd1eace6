"""The terminal's table: every series, in any size of terminal, whatever names spans have; the command on a terminal."""

import re
import signal
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from pty_support import on_a_drawable_terminal
from rich.console import Console
from sdk_spans_support import play
from support import LIMIT, wait_until
from traces_builder import HTTP, KAFKA, STRAIGHT, spans

from otel_kfs import semconv
from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.display.live_table import Frame

HOSTILE = "\x1b[31mEVIL\x1b[0m\n[bold]x[/bold] \u202e"


def snapshot(*images, now=30.0):
    """What is shown of images: drawings with a size in bytes, measured a second apart."""
    live = LiveMeasurement(0.0)
    for number, (drawing, size, cell) in enumerate(images):
        root, *others = spans(drawing, f"{number:032x}")
        attributes = root.attributes | {semconv.IMAGE_SIZE: size} | ({semconv.CELL: cell} if cell else {})
        live.add([replace(root, attributes=attributes), *others], float(number))
    return live.snapshot(now)


@cache
def busy():
    sizes = (1_100_000, 3_300_000, 4_700_000, 10_200_000)
    return snapshot(*((drawing, size, "") for _ in range(3) for drawing in (HTTP, KAFKA) for size in sizes))


def lines(frame, width=80, height=40):
    console = Console(width=width, height=height, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as captured:
        console.print(frame)
    return [line.rstrip() for line in captured.get().splitlines()]


@cache
def unbounded(seconds=5):
    """A record that passes to a host of whose clock, so many seconds ahead, nothing is known."""
    live = LiveMeasurement(0.0)
    for number in range(20):
        for span in spans(KAFKA.replace("330 1000", "330 1000 @other"), f"{number:032x}"):
            ahead = seconds * 1_000_000_000 * (span.host == "other")
            live.add([replace(span, start=span.start + ahead, end=span.end + ahead)], number / 10)
    return live.snapshot(3.0)


def test_no_figure_that_nothing_bounds_and_no_share_of_it_is_without_a_mark():
    said = [line.split() for line in lines(Frame(unbounded()), width=100)]
    (broker,) = [line for line in said if line[:1] == ["broker"]]
    table = said[next(number for number, line in enumerate(said) if line[:1] == ["Kafka,"]) :]
    assert broker == ["broker", *["20", "5040.0", "\u00b1?", "5040.0", "\u00b1?"] * 2, "?"]
    assert table[0] == ["Kafka,", "1.1MB", *["20", "6000.0", "\u00b1?", "6000.0", "\u00b1?"] * 2]
    assert {line[-1] for line in table[1:]} == {"?"}


def test_a_share_of_what_lies_between_two_hosts_has_its_bound():
    live = LiveMeasurement(0.0)
    live.add(spans(STRAIGHT.replace("200  470", "200  470  @other")), 0.0)
    said = {line[:26].strip(): line[-5:].strip() for line in lines(Frame(live.snapshot(1.0)), width=100)}
    # 25.4 of 500 ms, and what is rounded off.
    assert (said["predictor request"], said["predictor predict"], said["predictor response"]) == (
        "5 \u00b16",
        "26",
        "5 \u00b16",
    )


def test_the_largest_segments_are_named_though_such_a_clock_makes_the_total_negative():
    said = [line[:26].strip() for line in lines(Frame(unbounded(-5)), width=100, height=12)]
    assert said[said.index("Kafka, 1.1MB") + 1 :] == [
        "encode",
        "deliver",
        "transformer preprocess",
        "transformer serialise",
        "17 more segments",
    ]


def test_what_the_table_says_of_an_image():
    said = lines(Frame(snapshot((STRAIGHT, 1_100_000, "")), ["3 requests were no OTLP"], "listening"))
    table = next(number for number, line in enumerate(said) if line.startswith("total and segments, ms"))
    assert said[0].startswith("An image of 1.1MB takes 500.0 ms over HTTP (one image)")
    assert said[table + 1].split() == ["HTTP,", "1.1MB", "1", "500.0", "-", "1", "500.0", "-"]
    assert [line.split() for line in said[table + 2 : table + 5]] == [
        ["encode", "1", "100.0", "-", "1", "100.0", "-", "20"],
        ["client", "1", "40.0", "-", "1", "40.0", "-", "8"],
        ["predictor", "request", "1", "20.0", "-", "1", "20.0", "-", "4"],
    ] or said
    assert said[-2:] == ["3 requests were no OTLP", "listening"]


def test_before_an_image_came_it_says_what_came():
    live = LiveMeasurement(0.0)
    live.add(spans(STRAIGHT)[1:], 0.0)
    assert lines(Frame(live.snapshot(1.0)))[0] == "Waiting for images: 8 spans came."


def test_what_is_left_out_is_said_with_its_reason():
    live = LiveMeasurement(0.0)
    live.add(spans("send image  INTERNAL  0  10"), 0.0)
    assert "0 images measured; 1 left out: no request span (in the last minute 1)" in lines(Frame(live.finish(1.0)))


def test_a_series_without_an_image_in_the_last_minute_keeps_its_row():
    said = lines(Frame(snapshot((STRAIGHT, 1_100_000, ""), now=500.0)))
    assert ["HTTP,", "1.1MB", "1", "500.0", "-"] in [line.split() for line in said]


@given(st.integers(40, 200), st.integers(16, 80))
@settings(max_examples=25)
def test_it_fits_any_terminal(width, height):
    said = lines(Frame(busy(), ["3 requests were no OTLP"], "listening"), width, height)
    assert max(map(len, said)) <= width
    assert all(f" {size}" in "\n".join(said) for size in ("1.1MB", "3.3MB", "4.7MB", "10.2MB"))
    if height >= 30:
        assert len(said) <= height


def test_where_there_is_room_segments_are_named_and_add_up_to_the_whole():
    said = lines(Frame(busy()), 100, 200)
    start = next(number for number, line in enumerate(said) if line.startswith("HTTP, 1.1MB"))
    end = next(number for number, line in enumerate(said) if line.startswith("HTTP, 3.3MB"))
    assert 97 <= sum(int(line.split()[-1]) for line in said[start + 1 : end]) <= 103  # each is rounded


def test_hostile_names_send_no_control_sequence_and_no_markup():
    said = "\n".join(lines(Frame(snapshot((STRAIGHT, 1_100_000, HOSTILE)), [HOSTILE], HOSTILE), 120))
    assert said.replace("\n", "").isprintable()
    assert "[bold]x[/bold]" in said


def test_what_can_t_be_drawn_is_said_and_the_next_frame_is_drawn(monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("otel_kfs.watch.display.live_table.rates", lambda _: 1 / 0)
        assert lines(Frame(busy())) == ["these figures can't be drawn; the log says why"]
    assert len(lines(Frame(busy()))) > 8


def test_on_a_terminal_the_command_draws_the_table_follows_its_size_and_ends_with_the_sentence():
    with on_a_drawable_terminal("watch", "--grpc-port", "0", "--http-port", "0", columns=100) as terminal:
        wait_until("the first frame", lambda: "Waiting for images: 0 spans came." in terminal.text)
        port = re.search(r"over HTTP on port (\d+)", terminal.text)[1]
        provider = TracerProvider()
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        play(STRAIGHT, provider)
        wait_until("the image", lambda: "HTTP, 1.1MB" in terminal.text)
        terminal.resize(20, 60)
        terminal.forget()
        wait_until("a frame of the new size", lambda: "HTTP, 1.1MB" in terminal.text)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(LIMIT) == 130
    assert "An image of 1.1MB takes 500.0 ms over HTTP" in terminal.after_the_screen
    assert "1 image measured" in terminal.after_the_screen
