"""`otel-kfs experiment` as its user runs it: the dry run, Ctrl-C, and a whole small run on the embedded servers."""

import csv
import io
import json
import signal
import sys
from pathlib import Path

import pytest
from experiment_support import OWN, topics, written
from support import LIMIT, PHOTO, HttpServer, read_traces, start, wait_until

COMMAND = [sys.executable, "-m", "otel_kfs.cli", "experiment", "experiment.toml"]


def experiment(*options, **env):
    with start([*COMMAND, *options], **env) as process:
        output, errors = process.communicate(timeout=LIMIT)
    return process.returncode, output, errors


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing():
    written(f'images = ["a.jpg"]\nrepeat = 5\n{OWN}[matrix]\nencoding = ["json", "raw"]')
    code, output, errors = experiment("--dry-run")
    assert (code, errors) == (0, "")
    assert output.splitlines()[1:] == [
        "  * HTTP, json",
        "    HTTP, raw",
        "Images: a.jpg",
        "10 images: 5 blocks of 2 trials in random order (seed 1); before them 4 warm-ups, after which the time "
        "is estimated",
    ]
    assert not Path("run").exists()


def test_a_dry_run_of_an_open_loop_says_how_long_it_takes():
    written(f'images = ["a.jpg"]\nrepeat = 2\n{OWN}[arrivals]\nrates = [1, 2]\nduration = 30')
    assert experiment("--dry-run")[1].splitlines()[-1] == (
        "about 180 images: 2 blocks of 2 stages of 30 s, poisson, by 16 threads (seed 1); at least 2.0 min after the "
        "warm-up"
    )


@pytest.mark.analysis
def test_a_dry_run_says_when_no_cell_could_be_called_faster_or_slower():
    for text, needed in (('encoding = ["json", "raw"]', 4), ('encoding = ["json", "raw"]\n[arrivals]\nrates = [5]', 6)):
        written(f'images = ["a.jpg"]\nrepeat = {needed - 1}\n{OWN}[matrix]\n{text}')
        assert experiment("--dry-run")[1].splitlines()[-1] == (
            f"repeat = {needed - 1} is too few to call a cell faster or slower than the baseline: it takes {needed}"
        )


def test_mistakes_are_lines_and_exit_code_1():
    written(f"repeat = 0\n{OWN}")
    assert experiment("--dry-run")[::2] == (
        1,
        "Error: experiment.toml: repeat: 0 is not allowed; give a whole number from 1 to 1000000\n"
        'experiment.toml: images: it is missing: give a list of image files, like ["cat.jpg"]\n',
    )


@pytest.mark.analysis
@pytest.mark.parametrize("arrivals", ["", "[arrivals]\nrates = [50]\nduration = 0.2\n"])
def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(arrivals):
    with HttpServer().running() as server:
        written(f'images = ["a.jpg"]\nrepeat = 100000\n[servers]\nurl = "{server.url}"\nmodel = "m"\n{arrivals}')
        journal = Path("run/journal.ndjson")
        with start([*COMMAND, "-o", "run"]) as process:
            wait_until("some trials", lambda: journal.exists() and journal.read_text().count("\n") > 3)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LIMIT)
    # Ctrl-C may come while a span is handed to its exporter, which is said then.
    said = [line for line in errors.split("\n") if "spans were not exported" not in line]
    assert (process.returncode, said[-4:]) == (
        130,
        ["What was done is kept; to resume:  otel-kfs experiment experiment.toml -o run", "", "stopped", ""],
    )
    lines = journal.read_text().splitlines()
    assert all(json.loads(line)["failed"] == 0 for line in lines[1:])


@pytest.mark.analysis
def test_a_changed_file_is_refused():
    with HttpServer().running() as server:
        text = f'images = ["a.jpg"]\nrepeat = 1\n[servers]\nurl = "{server.url}"\nmodel = "m"\n'
        written(text)
        experiment("-o", "run")
        written(text.replace("repeat = 1", "repeat = 2"))
        code, _, errors = experiment("-o", "run")
    assert (code, errors) == (
        1,
        "Error: experiment.toml or its images changed since the run in run began: undo that, or choose a new folder\n",
    )


@pytest.mark.analysis
def test_answered_images_that_a_store_never_shows_are_an_error_and_can_be_ranked_later():
    traces = "run/traces"
    with HttpServer().running() as server, HttpServer().running() as jaeger:
        text = f'images = ["a.jpg"]\nrepeat = 3\n[servers]\nurl = "{server.url}"\nmodel = "m"\n'
        written(f'{text}[traces]\nquery = "jaeger:{jaeger.url}?wait=1s"\n')
        jaeger.answers(200, b'{"result": {"resourceSpans": []}}')
        code, output, errors = experiment("-o", "run")
        assert (code, output, errors.splitlines()[-2:]) == (
            1,
            "",
            [
                "All was sent and is kept; to read the traces again and rank them:  "
                "otel-kfs experiment experiment.toml -o run",
                "Error: after 1 s, 0 of the 3 images that are expected were complete; missing: 3 (no span is there). "
                "Wait longer (--wait 5m), or leave --expect out to read what is there",
            ],
        )
        whole = [one for file in Path(traces).glob("*.jsonl") for one in file.read_bytes().splitlines()]
        resource_spans = [json.loads(line)["resourceSpans"][0] for line in whole]
        jaeger.answers(200, json.dumps({"result": {"resourceSpans": resource_spans}}).encode())
        sent = len(server.requests)
        code, output, errors = experiment("-o", "run")
    assert (code, len(server.requests), "3 images measured" in output) == (0, sent, True), errors


@pytest.mark.demo
@pytest.mark.model
@pytest.mark.analysis
def test_a_run_on_the_embedded_servers_ranks_its_cells_and_only_ranks_them_again(serving, model, cache):
    written(
        f'images = ["{PHOTO}"]\nrepeat = 6\nwarmups = 1\n[servers]\nembedded = true\n[matrix]\nway = ["fast"]\n'
        'transport = ["http", "kafka"]\nencoding = ["cloudevent"]\n'
    )
    code, output, errors = experiment("-o", "run", "--format", "json", OTEL_KFS_CACHE=str(cache))
    assert code == 0, errors
    document = json.loads(output)
    assert {(one["transport"], one["cell"], one["n"], one["baseline"]) for one in document["ranking"]} == {
        ("http", "cloudevent", 6, True),
        ("kafka", "cloudevent", 6, False),
    }
    assert "broker" in {one["segment"] for one in document["segments"]}
    roots = [span for span in read_traces(Path("run/traces")) if span.name == "send image"]
    assert len(roots) == 2 * 7
    assert {span.attributes["otel_kfs.run.id"] for span in roots} == {document["run_id"]}
    assert [row["rank"] for row in csv.DictReader(io.StringIO(Path("run/ranking.csv").read_text()))] == ["1", "2"]

    again = experiment("-o", "run", "--format", "json", OTEL_KFS_CACHE=str(cache))
    assert again[:2] == (0, output)
    with start([sys.executable, "-m", "otel_kfs.cli", "tables", "--trace-query", "run", "--layout", "seed"]) as tables:
        printed, _ = tables.communicate(timeout=LIMIT)
    assert "12 images measured; 2 left out: warm-up" in printed
    assert "HTTP, cloudevent: seconds" in printed


@pytest.mark.demo
@pytest.mark.model
@pytest.mark.kafka
@pytest.mark.analysis
def test_the_embedded_servers_can_be_led_to_from_a_kafka_of_ones_own(serving, model, cache, broker):
    written(
        f'images = ["{PHOTO}"]\nrepeat = 1\nwarmups = 1\n[servers]\nembedded = true\nbootstrap_servers = "{broker}"\n'
        '[matrix]\nway = ["fast"]\ntransport = ["kafka"]\nencoding = ["cloudevent"]\n'
    )
    code, output, errors = experiment("-o", "run", "--format", "json", OTEL_KFS_CACHE=str(cache))
    assert code == 0, errors
    assert [one["n"] for one in json.loads(output)["ranking"]] == [1]
    assert "Tansu" not in errors
    assert "broker.log" not in {log.name for log in Path("run/logs").iterdir()}
    assert not any(topic.startswith("otel-kfs-experiment-") for topic in topics(broker))
