"""Servers of the user's own, through Kafka: a topic and a bridge that last as long as the run."""

import base64
from contextlib import suppress
from pathlib import Path

import pytest
from experiment_support import configured, no_progress, quiet, topics
from support import HttpServer, read_traces

from otel_kfs.errors import ConfigError
from otel_kfs.experiment.runner import run
from otel_kfs.experiment.trial_log import TrialLog

# A run configures the process: only the first provider is taken, and that must be the tests' own.
pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("spans")]


@pytest.fixture
def server():
    with HttpServer().running() as running:
        yield running


def text(server, broker, more=""):
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS

    Path("consumer.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    return (
        'images = ["a.jpg"]\nrepeat = 2\nwarmups = 1\n[servers]\nmodel = "m"\nconsumer_config = "consumer.properties"\n'
        f'url = "{server.url}"\nbootstrap_servers = "{broker}"\n[matrix]\ntransport = ["kafka"]\n{more}'
    )


def test_one_at_a_time_each_record_is_answered_before_the_next_and_the_topic_is_gone_then(server, broker):
    under_way = []

    def answer(*_):
        under_way.append(topics(broker))
        return (200, b"{}") if len(server.requests) != 3 else (400, b"no picture")

    server.answer = answer
    log = run(configured(text(server, broker)), Path("run"), say=quiet, progress=no_progress)
    assert [(result.sent, result.failed) for result in log.results] == [(1, 0), (1, 1)]
    assert "refused the record" in log.results[1].failure
    assert all(any(name.startswith("otel-kfs-experiment-") for name in found) for found in under_way)
    assert not any(name.startswith("otel-kfs-experiment-") for name in topics(broker))
    # The bridge's spans lie where the sender's do.
    assert {span.service for span in read_traces(Path("run/traces"))} >= {"kafka-bridge"}


def test_in_an_open_loop_nobody_waits_but_the_stage_for_the_last_answer(server, broker):
    more = "[arrivals]\npattern = 'constant'\nrates = [40]\nduration = 0.5\nworkers = 1"
    log = run(configured(text(server, broker, more)), Path("run"), say=quiet, progress=no_progress)
    assert [(result.sent, result.failed, result.unsent) for result in log.results] == [(20, 0, 0)] * 2
    assert len(server.requests) == 1 + 40


def command_lines():
    """Those of all processes on this machine, as everybody can read them."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_bytes()


def test_a_password_in_a_url_reaches_the_model_and_no_command_line_and_no_file_of_the_run(server, broker):
    seen = set()
    server.answer = lambda *_: seen.update(command_lines()) or (200, b"{}")
    toml = text(server, broker).replace("://", "://me:s3cret-pw@")
    run(configured(toml), Path("run"), say=quiet, progress=no_progress)
    login = "Basic " + base64.b64encode(b"me:s3cret-pw").decode()
    assert [request.headers["authorization"] for request in server.requests] == [login] * 3
    assert len([line for line in seen if f"\0bridge\0--bootstrap-servers\0{broker}\0".encode() in line]) == 1
    assert not [line for line in seen if b"s3cret-pw" in line]
    files = [path for path in Path("run").rglob("*") if path.is_file()]
    assert Path("run/journal.ndjson") in files
    assert not [path for path in files if b"s3cret-pw" in path.read_bytes()]
    # Whether the file was changed is known all the same.
    assert len(TrialLog(Path("run"), configured(toml)).results) == 2
    with pytest.raises(ConfigError, match="changed since the run in run began"):
        TrialLog(Path("run"), configured(toml.replace("s3cret", "other")))
