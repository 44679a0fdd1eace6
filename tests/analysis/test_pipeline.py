"""From stores to measurements: the same whether read in one piece or in partitions, by one process or by several."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sketch_support import images
from support import LIMIT, start, wait_until
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, Store, linked, spans, with_options

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.measurement import Runs, measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.reading import group_by_trace
from otel_kfs.errors import OtelKfsError, TraceQueryError
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.span import Kind, SpanGraph


def as_a_whole(drawn):
    """What the spans are when all of them are in one graph."""
    measurement = measured(*critical_paths(SpanGraph(drawn)))
    measurement.sort()
    return measurement


MANY = images(90)


@pytest.fixture
def few(monkeypatch):
    """Anything is much."""
    monkeypatch.setattr(group_by_trace, "FEW", 10)


def test_spans_in_memory_are_measured_as_a_whole():
    assert pipeline.read(Store(MANY), processes=1) == as_a_whole(MANY)


def test_spans_in_partitions_are_measured_as_a_whole(few):
    assert pipeline.read(Store(MANY), processes=1) == as_a_whole(MANY)


def test_a_trace_may_lie_in_several_parts(few):
    parts = [MANY[number::7] for number in range(7)]
    assert pipeline.read(Store(*parts), processes=1) == as_a_whole(MANY)


def test_processes_side_by_side_measure_the_same(few):
    parts = [MANY[number::7] for number in range(7)]
    assert pipeline.read(Store(*parts), processes=2) == as_a_whole(MANY)


def test_a_span_that_is_read_twice_counts_once(few):
    assert pipeline.read(Store(MANY, MANY), processes=1) == as_a_whole(MANY)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_no_order_of_the_spans_makes_a_difference(random, parts):
    drawn = images(12)
    random.shuffle(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_by_trace, "FEW", 10)
        assert pipeline.read(Store(*(drawn[n::parts] for n in range(parts))), processes=1) == as_a_whole(drawn)


def with_ids_of(drawn, known):
    """Spans whose ids are numbers that begin anew in each trace, but for the first one's; `known` has them."""

    def renamed(trace_id, span_id):
        numbers = known.setdefault(trace_id, {})
        if span_id == f"{trace_id}0":
            return span_id
        return f"n{numbers.setdefault(span_id, len(numbers))}"

    return [
        replace(
            span,
            span_id=renamed(span.trace_id, span.span_id),
            parent_id=span.parent_id and renamed(span.trace_id, span.parent_id),
            links=tuple(map(renamed, span.linked_traces, span.links)),
        )
        for span in drawn
    ]


def test_span_ids_that_are_those_of_other_traces_too_make_no_difference():
    assert as_a_whole(with_ids_of(MANY, {})) == as_a_whole(MANY)
    assert pipeline.read(Store(with_ids_of(MANY, {})), processes=1) == as_a_whole(MANY)


SERVICES = {"image-sender", "transformer", "predictor"}
BY_SERVICE = (
    HTTP.replace("image=1100000", "image=1100000 service=image-sender", 1)
    .replace("200  970", "200  970  service=transformer")
    .replace("540  910", "540  910  service=predictor")
)


@settings(max_examples=30)
@given(st.randoms(use_true_random=False))
def test_a_request_s_two_spans_may_share_an_id_whatever_is_read_first(random):
    drawn = spans(BY_SERVICE)
    assert {span.service for span in drawn} == SERVICES
    client_of = {span.span_id: span.parent_id for span in drawn if span.kind is Kind.SERVER}
    parents = {span.span_id: span.parent_id for span in drawn}
    shared = [
        replace(
            span,
            span_id=client_of.get(span.span_id, span.span_id),
            parent_id=parents[client_of[span.span_id]]
            if span.span_id in client_of
            else client_of.get(span.parent_id, span.parent_id),
        )
        for span in drawn
    ]
    random.shuffle(shared)
    assert critical_paths(SpanGraph(shared)) == critical_paths(SpanGraph(drawn))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_other_trace_of_an_image_and_the_runs_of_all_are_known(few, processes):
    found = pipeline.read(Store(*(MANY[number::7] for number in range(7))), processes=processes)
    assert found.linked == {
        (f"sender{number:03}-", f"sender{number:03}-0"): (f"bridge{number:03}-",) for number in range(0, 90, 5)
    }
    assert found.runs == Runs({"", "another", "one"})


def is_left_of_an_image(span):
    """Whether no other program's span is like it."""
    return span.name in {"send image", *OF_IMAGES}


OF_IMAGES = {"process images", "receive", "decode", "preprocess", "predict", "postprocess"}
SENT = [HTTP, KAFKA, STRAIGHT, EVENT_SOURCE, with_options(HTTP, "send image", "warmup")]


@st.composite
def torn(draw):
    """The spans of images of which some spans are lost, and of how many images there is still something."""
    found, images = [], 0
    for number in range(draw(st.integers(1, 5))):
        drawing = draw(st.sampled_from([*SENT, None]))
        whole = spans(drawing, f"trace{number}-") if drawing else linked(f"sender{number}-", f"bridge{number}-")
        lost = set(draw(st.lists(st.integers(0, len(whole) - 1))))
        left = [span for place, span in enumerate(whole) if place not in lost]
        if drawing is None and not any(span.name == "process images" for span in left):
            # Without its link, nothing says to whom the bridge's half belongs.
            left = [span for span in left if not span.trace_id.startswith("bridge")]
        found += left
        images += any(map(is_left_of_an_image, left))
    return draw(st.permutations(found)), images


@settings(max_examples=300)
@given(torn())
def test_every_image_of_which_something_is_left_is_measured_or_left_out(drawn):
    found, images = drawn
    measurement = pipeline.read(Store(found), processes=1)
    account = measurement.coverage
    assert (account.measured + sum(account.left_out.values()), measurement) == (images, as_a_whole(found))


def test_no_parts_are_no_images():
    assert pipeline.read(Store()) == as_a_whole([])


def test_every_part_is_told():
    told = []
    pipeline.read(Store(spans(HTTP), spans(KAFKA, "b")), progress=told.append)
    assert told == ["read 1 of 2 parts", "read 2 of 2 parts"]


def test_measuring_is_told_too(few):
    told = []
    pipeline.read(Store(MANY), processes=1, progress=told.append)
    assert (told[0], told[-1]) == ("read 1 of 1 parts", "measured 100 %")


# --- temporary files ---


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_few_spans_need_no_temporary_files(folder):
    before = folder.stat().st_mtime_ns
    pipeline.read(Store(MANY), processes=1)
    assert folder.stat().st_mtime_ns == before


def test_nothing_is_left_behind(folder, few):
    pipeline.read(Store(MANY), processes=1)
    assert list(folder.iterdir()) == []


def fail(error):
    """A part of a store that can't be read to its end."""
    yield from MANY
    raise error


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_through_and_leaves_nothing_behind(folder, few, processes):
    with pytest.raises(TraceQueryError, match=r"^x\.jsonl, line 3: not JSON$"):
        pipeline.read(With(partial(fail, TraceQueryError("x.jsonl, line 3: not JSON"))), processes=processes)
    assert list(folder.iterdir()) == []


def wait_for_ever(reached):
    """A part of a store that says when it is read, and never ends."""
    yield from MANY
    reached.touch()
    signal.pause()


IMPORTED = os.pathsep.join(
    str(folder) for folder in Path(__file__).parents[:3]
)  # of this file, its helpers, the package

SCRIPT = """
import pathlib, sys, test_pipeline
from functools import partial
from otel_kfs.analysis import pipeline
from otel_kfs.analysis.reading import group_by_trace
group_by_trace.FEW = 10
part = partial(test_pipeline.wait_for_ever, pathlib.Path(sys.argv[1]))
pipeline.read(test_pipeline.With(part, part), processes=int(sys.argv[2]))
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_all_processes_and_leaves_nothing_behind(tmp_path, processes):
    reached, folder = tmp_path / "reached", tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-c", SCRIPT, reached, str(processes)]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": IMPORTED}
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background ignores Ctrl-C, and so would what is started there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    wait_until("the part is read", reached.exists)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=LIMIT)  # which waits for every process that has its standard error
    assert (said.count("Traceback"), said.splitlines()[-1], list(folder.iterdir())) == (1, "KeyboardInterrupt", [])


COMMAND = """
import pathlib, sys, test_pipeline
from functools import partial
from otel_kfs.analysis.reading import group_by_trace
from otel_kfs.cli import main
from otel_kfs.traces import query
group_by_trace.FEW = 10
part = partial(test_pipeline.wait_for_ever, pathlib.Path(sys.argv[1]))
query.open_store = lambda *_, **__: test_pipeline.With(part, part)
if __name__ == "__main__":
    main(["tables", "--trace-query", "x"])
"""


def test_sigterm_ends_a_command_s_processes_and_leaves_nothing_behind(tmp_path):
    reached, folder = tmp_path / "reached", tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-c", COMMAND, str(reached)]
    with start(command, TMPDIR=str(folder), PYTHONPATH=IMPORTED) as process:
        wait_until("the part is read", reached.exists)
        process.send_signal(signal.SIGTERM)
        output, said = process.communicate(timeout=LIMIT)  # which waits for every process that has its standard error
    assert (process.returncode, output, said, list(folder.iterdir())) == (143, "", "stopped by SIGTERM\n", [])


def test_the_temporary_folder_is_private(folder, few):
    modes = []
    pipeline.read(
        Store(MANY), processes=1, progress=lambda _: modes.extend(p.stat().st_mode & 0o777 for p in folder.iterdir())
    )
    assert set(modes) == {0o700}


def no_room(*_, **__):
    raise OSError(28, "No space left on device")


def room_for_few(*arguments, **options):
    """A table that can't grow."""
    database = CONNECT(*arguments, **options)
    database.execute("PRAGMA max_page_count = 3")
    return database


CONNECT = sqlite3.connect


@pytest.mark.parametrize(
    ("made", "full", "reason"),
    [
        ("tempfile.mkdtemp", no_room, "No space left on device"),
        ("sqlite3.connect", room_for_few, "database or disk is full"),
    ],
)
def test_a_full_disk_is_one_line_that_says_what_to_do(folder, few, monkeypatch, made, full, reason):
    monkeypatch.setattr(made, full)
    with pytest.raises(OtelKfsError) as raised:
        pipeline.read(Store(MANY), processes=1)
    assert (str(raised.value), list(folder.iterdir())) == (
        f"can't keep spans in temporary files: {reason}; TMPDIR names a folder with more room",
        [],
    )


# --- processes ---


def warn():
    logging.getLogger("otel_kfs.traces").warning("%d spans left out", 3)
    yield from MANY


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    yield


class With(Store):
    def __init__(self, *further):
        super().__init__(MANY)
        self._further = further

    def parts(self):
        return [*super().parts(), *(partial(trimmed_batches, part) for part in self._further)]


def test_what_other_processes_log_is_logged_here(few, caplog):
    pipeline.read(With(warn), processes=2)
    assert [record.getMessage() for record in caplog.records] == ["3 spans left out"]


def test_a_process_that_is_killed_is_an_error(few, folder):
    with pytest.raises(OtelKfsError) as raised:
        pipeline.read(With(kill), processes=2)
    assert (str(raised.value), list(folder.iterdir())) == (
        "a process that reads traces died; if memory is short, let fewer processes read",
        [],
    )


class _Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def odd():
    raise _Odd("this", "that")
    yield


def test_an_error_that_can_not_be_sent_comes_as_its_words(few):
    with pytest.raises(OtelKfsError, match=r"^_Odd: this and that$"):
        pipeline.read(With(odd), processes=2)


# --- several images in one trace ---


def album(*images):
    """The spans of several images that were sent within one trace, each below a span of its own."""
    found = []
    for number, drawing in enumerate(images):
        found += [replace(span, trace_id="album") for span in spans(drawing, f"album{number}-")]
    return found


def of_run(run):
    return with_options(HTTP, "send image", f"run={run}")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_s_images_are_counted_and_not_those_of_another_run_in_their_trace(few, processes):
    drawn = album(of_run("monday"), of_run("tuesday"), of_run("monday"), with_options(HTTP, "send image", "warmup"))
    found = pipeline.read(Store(drawn[::2], drawn[1::2]), partial(critical_paths, run="monday"), processes=processes)
    (series,) = found.all_series()
    assert (series.root_ids, found.runs.ids) == (["album0-0", "album2-0"], {"monday"})
    assert found.coverage == Coverage(measured=2)
    assert pipeline.read(Store(drawn), partial(critical_paths, run="wednesday"), processes=1).coverage == Coverage()
    assert pipeline.read(Store(drawn), processes=1).coverage == Coverage(measured=3, left_out={"warm-up": 1})


@pytest.mark.sketch
def test_the_sketches_of_a_run_are_of_its_images_alone():
    drawn = album(of_run("monday"), of_run("tuesday"))
    assert pipeline.read_sketches(
        Store(drawn), partial(critical_paths, run="tuesday"), processes=1
    ).coverage == Coverage(measured=1)
