"""Running: every trial in its order, every image at its time, against a real HTTP server; failures counted; resumed."""

import itertools
import json
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_support import configured, no_progress, quiet
from support import HttpServer
from traces_builder import critical_path

from otel_kfs import semconv
from otel_kfs.analysis.measurement import measured
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.experiment import schedule
from otel_kfs.experiment.runner import estimate, run
from otel_kfs.experiment.trial_log import within_trials

# A run configures the process: only the first provider is taken, and that must be the tests' own.
pytestmark = pytest.mark.usefixtures("spans")


@pytest.fixture
def server():
    with HttpServer().running() as running:
        yield running


def text(server, more="", top="repeat = 2\nwarmups = 1\n"):
    return f'images = ["a.jpg"]\n{top}[servers]\nurl = "{server.url}"\nmodel = "m"\n{more}'


def ran(config, folder="run"):
    """Run an experiment; return its log."""
    return run(config, Path(folder), say=quiet, progress=no_progress)


def roots(spans):
    """The `send image` spans, in the order of their starts."""
    found = [span for span in spans.get_finished_spans() if span.name == semconv.SEND_IMAGE]
    return sorted(found, key=lambda span: span.start_time)


# --- one at a time ---


def test_every_trial_is_sent_in_the_order_of_the_schedule_behind_a_warm_up_of_each_cell(server, spans):
    config = configured(text(server, '[matrix]\nencoding = ["json", "raw", "cloudevent"]', "repeat = 3\nwarmups = 2\n"))
    log = ran(config)
    found = [(span.attributes[semconv.CELL], bool(span.attributes.get(semconv.WARMUP))) for span in roots(spans)]
    assert Counter(found[:6]) == Counter({(cell.label, True): 2 for cell in config.cells})
    assert found[6:] == [(trial.cell.label, False) for trial in schedule.trials(config)]
    assert {span.attributes[semconv.RUN_ID] for span in roots(spans)} == {log.run_id}
    assert [(result.key, result.sent, result.failed) for result in log.results] == [
        (trial.key, 1, 0) for trial in schedule.trials(config)
    ]


def test_a_run_that_was_stopped_goes_on_where_it_was_after_another_warm_up(server, spans):
    config = configured(text(server, '[matrix]\nencoding = ["json", "raw"]'))

    @contextmanager
    def progress_that_stops(total, description, *, quiet=False):
        def advance(_):
            if description == "sending":
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        run(config, Path("run"), say=quiet, progress=progress_that_stops)
    first = ran(config)
    trials = [trial.key for trial in schedule.trials(config)]
    assert [result.key for result in first.results] == trials
    measured = [span.attributes[semconv.CELL] for span in roots(spans) if semconv.WARMUP not in span.attributes]
    assert measured == [trial.cell.label for trial in schedule.trials(config)]
    assert len(server.requests) == 2 + 1 + 2 + 3


@pytest.mark.parametrize(
    ("arrivals", "top"),
    [
        ("", "repeat = 4\nwarmups = 1\n"),
        ("[arrivals]\npattern = 'constant'\nrates = [40]\nduration = 0.5\nworkers = 2", "repeat = 2\nwarmups = 1\n"),
    ],
)
def test_what_ctrl_c_cut_off_in_the_middle_of_a_trial_does_not_count_beside_its_repetition(
    server, spans, arrivals, top
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.get_ident()

    def answer(*_):
        if len(server.requests) == 5:
            signal.pthread_kill(main, signal.SIGINT)
        return 200, b"{}"

    server.answer = answer
    config = configured(text(server, arrivals, top))
    try:
        with pytest.raises(KeyboardInterrupt):
            ran(config)
    finally:
        signal.signal(signal.SIGINT, before)
    results = ran(config).results
    sent = sum(result.sent for result in results)
    due = [span.start_time for span in roots(spans) if semconv.WARMUP not in span.attributes]
    assert len(due) > sent
    images = [replace(critical_path(0, 0, 0, 0, cell="json"), stamps=(moment,) * 4) for moment in due]
    (counted,) = within_trials(measured(images).all_series(), results)
    assert len(counted) == sent


def test_a_run_that_is_over_sends_nothing_more(server):
    config = configured(text(server))
    ran(config)
    sent = len(server.requests)
    assert len(ran(config).results) == 2
    assert len(server.requests) == sent


def test_an_image_that_fails_is_counted_and_the_run_goes_on(server):
    config = configured(text(server, top="repeat = 4\nwarmups = 1\nmax_failures = 2\n"))
    server.answer = lambda *_: (500, b"no") if len(server.requests) in {2, 4} else (200, b"{}")
    log = ran(config)
    assert [result.failed for result in log.results] == [1, 0, 1, 0]
    assert "answered 500" in log.results[0].failure


def test_more_failures_than_allowed_end_the_run_and_what_was_done_is_kept(server):
    config = configured(text(server, top="repeat = 9\nwarmups = 1\nmax_failures = 1\n"))
    server.answer = lambda *_: (500, b"no") if len(server.requests) > 2 else (200, b"{}")
    with pytest.raises(
        SendError, match=r"^2 images failed, more than max_failures = 1; the last one, .* by HTTP, json: "
    ):
        ran(config)
    lines = Path("run/journal.ndjson").read_text().splitlines()
    assert [json.loads(line)["failed"] for line in lines[1:]] == [0, 1, 1]


def test_a_cell_that_does_not_work_at_all_is_told_before_anything_counts(server):
    server.answer = lambda request, _: (200, b"{}") if b"b64" in request.body else (415, b"what is this")
    with pytest.raises(SendError, match=r"^HTTP, raw does not work, all its warm-ups failed: .* 415 "):
        ran(configured(text(server, '[matrix]\nencoding = ["json", "raw"]')))


def test_without_keep_alive_every_image_has_a_connection_of_its_own(server):
    connections = {}

    def answer(request, handler):
        # A handler is made for each connection; kept here, none is taken for another.
        connections.setdefault(request.headers["connection"], []).append(handler)
        handler.close_connection = False  # a server may be slow to close what it was asked to close
        return 200, b"{}"

    server.answer = answer
    ran(configured(text(server, "[matrix]\nkeep_alive = [true, false]", "repeat = 3\nwarmups = 1\n")))
    assert {kind: len(set(handlers)) for kind, handlers in connections.items()} == {"keep-alive": 1, "close": 4}


def test_concurrent_images_are_under_way_at_the_same_time(server):
    # The server answers none before all three are there.
    together = threading.Barrier(3)

    def answer(*_):
        if len(server.requests) > 3:
            together.wait(30)
        return 200, b"{}"

    server.answer = answer
    log = ran(configured(text(server, "[matrix]\nconcurrency = [3]")))
    assert [(result.sent, result.failed) for result in log.results] == [(3, 0), (3, 0)]


# --- at their times ---


def test_images_are_due_at_their_times_though_the_server_is_slow(server, spans):
    slow = threading.Event()

    def answer(*_):
        if len(server.requests) == 2:  # the first one that counts
            slow.wait(0.5)
        return 200, b"{}"

    server.answer = answer
    more = "[arrivals]\npattern = 'constant'\nrates = [5]\nduration = 1\nworkers = 1"
    (stage,) = ran(configured(text(server, more, "repeat = 1\nwarmups = 1\n"))).results
    assert (stage.sent, stage.failed, stage.unsent, stage.seconds) == (5, 0, 0, 1)
    found = [span for span in roots(spans) if semconv.WARMUP not in span.attributes]
    assert [span.start_time - stage.start for span in found] == [number * 200_000_000 for number in range(5)]
    # The second was due while the first was under way: it was sent after it, and its trace says how late.
    late = [span for span in spans.get_finished_spans() if span.name == semconv.LATE_START]
    late.sort(key=lambda span: span.start_time)
    assert [span.start_time for span in late] == [span.start_time for span in found]
    assert [span.parent.span_id for span in late] == [span.context.span_id for span in found]
    assert found[1].start_time < found[0].end_time <= late[1].end_time


def test_what_was_not_begun_in_time_is_given_up_and_counted(server):
    blocked = threading.Event()
    # The first answer comes when the time of all others is long over; a busy machine has a second to begin it.
    server.answer = lambda *_: (blocked.wait(1.2 if len(server.requests) == 2 else 0), (200, b"{}"))[1]
    more = "[arrivals]\npattern = 'constant'\nrates = [10]\nduration = 0.5\nworkers = 1"
    (stage,) = ran(configured(text(server, more, "repeat = 1\nwarmups = 1\n"))).results
    assert (stage.sent, stage.unsent) == (1, 4)


def test_each_thread_has_a_connection_of_its_own_and_there_are_no_more_than_were_asked_for(server):
    connections, together, numbers = set(), threading.Barrier(3), itertools.count()

    def answer(_, handler):
        connections.add(handler)
        if 3 <= next(numbers) <= 5:  # behind the warm-up of each: the first three are answered when all are there
            together.wait(30)
        return 200, b"{}"

    server.answer = answer
    more = "[arrivals]\npattern = 'constant'\nrates = [15]\nduration = 1\nworkers = 3"
    (stage,) = ran(configured(text(server, more, "repeat = 1\nwarmups = 1\n"))).results
    assert (stage.sent + stage.unsent, stage.failed, len(connections)) == (15, 0, 3)


def test_every_connection_is_warm_and_all_cells_of_a_block_have_the_same_arrivals(server, spans):
    warm = []
    server.answer = lambda _, handler: (warm.append(handler), (200, b"{}"))[1]
    more = '[matrix]\nencoding = ["json", "raw"]\n[arrivals]\nrates = [20]\nduration = 0.5\nworkers = 3'
    stages = ran(configured(text(server, more, "repeat = 2\nwarmups = 2\n"))).results
    assert len(set(warm[: 2 * 3])) == 2 * 3  # by each connection of each cell at first, then once by each cell
    images = [span for span in roots(spans) if semconv.WARMUP not in span.attributes]
    assert len(warm) - len(images) == 2 * 3 + 2
    due = {
        stage.key: sorted(
            span.start_time - stage.start for span in images if stage.start <= span.start_time <= stage.end
        )
        for stage in stages
    }
    of_blocks = [[times for key, times in due.items() if key[0] == block] for block in (0, 1)]
    # On a busy machine the last ones are not sent, which has nothing to do with when they are due.
    same = [min(map(len, times)) for times in of_blocks]
    one, other = ({tuple(times[:count]) for times in block} for block, count in zip(of_blocks, same, strict=True))
    assert (len(one), len(other), one & other) == (1, 1, set())
    whole = [stage for stage in stages if not stage.unsent]
    assert [stage.last_due - stage.start for stage in whole] == [due[stage.key][-1] for stage in whole]


# --- before anything is sent ---


@pytest.mark.kafka
def test_a_setting_that_librdkafka_does_not_have_is_one_line_before_anything_starts():
    head = 'images = ["a.jpg"]\n[servers]\nbootstrap_servers = "127.0.0.1:1"\ntopic = "t"\npause = 1\n'
    config = configured(head + '[matrix]\ntransport = ["kafka"]\nkafka = { "linger.mss" = [5] }')
    with pytest.raises(
        ConfigError, match=r'experiment\.toml: Kafka, json: No such configuration property: "linger\.mss"'
    ):
        ran(config)
    assert not Path("run").exists()


def test_the_time_is_estimated_by_the_warm_up(server):
    config = configured(text(server, '[matrix]\nencoding = ["json", "raw"]', "repeat = 10\n"))
    json_cell, raw_cell = config.cells
    remaining = list(schedule.trials(config))
    seconds = {(json_cell, config.images[0]): 2.0, (raw_cell, config.images[0]): 1.0}
    assert estimate(config, remaining, seconds) == "about 30 s"
    assert estimate(config, remaining * 10, seconds) == "about 5 min"
    assert estimate(config, remaining, {}) == "for an unknown time, without warm-up"
