"""`otel-kfs send` when SIGTERM comes: what is under way ends, the rest is named, and the trace has the truth."""

import signal
import socket
import sys

import pytest
from support import ERROR, JPG, LIMIT, HttpServer, read_traces, start, wait_until

from otel_kfs.cli import termination

SEND = [sys.executable, "-m", "otel_kfs.cli", "-q", "send", "--traces-file", "spans.jsonl"]
# The same with less patience.
IMPATIENT = [
    sys.executable,
    "-c",
    "from otel_kfs.cli import main, termination; termination.GRACE_SECONDS = 0.2; main()",
]
IMAGES = ["--image", "a.jpg", "b.jpg", "c.jpg"]


@pytest.fixture(autouse=True)
def _images(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(JPG)


@pytest.fixture
def model():
    with HttpServer().running() as server:
        yield server


def http(server):
    return ["--transport", "http", "--url", f"{server.url}/v1/models/m:predict"]


def statuses(tmp_path):
    return [(span.name, span.status) for span in read_traces(tmp_path / "spans.jsonl")]


def test_the_image_under_way_is_answered_and_the_others_are_named(model, tmp_path):
    def answer_after_sigterm(*_):
        process.send_signal(signal.SIGTERM)
        # The signal is at work before the answer is out when the sender has said so to the kernel.
        wait_until("the handler", lambda: default_handler(process.pid))
        return 200, b'{"predictions": [1]}'

    model.answer = answer_after_sigterm
    with start([*SEND, *http(model), *IMAGES]) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output.count("predictions")) == (143, 1)
    assert errors == "stopped by SIGTERM; 2 of 3 were not sent: b.jpg, c.jpg\n"
    assert [status for name, status in statuses(tmp_path) if name == "send image"] == [0]


def test_an_image_that_is_never_answered_is_cut_off(model, tmp_path):
    model.hangs()
    with start([*IMPATIENT, *SEND[3:], *http(model), *IMAGES]) as process:
        wait_until("the request", lambda: model.requests)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (143, "")
    assert errors == "stopped by SIGTERM; 3 of 3 were not sent: a.jpg, b.jpg, c.jpg\n"
    assert {name for name, status in statuses(tmp_path) if status == ERROR} == {"send image", "POST"}


def test_a_second_sigterm_ends_at_once(model):
    model.hangs()
    with start([*SEND, *http(model), *IMAGES]) as process:
        wait_until("the request", lambda: model.requests)
        process.send_signal(signal.SIGTERM)
        wait_until("the handler", lambda: default_handler(process.pid))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGTERM  # 143, to a shell


@pytest.mark.kafka
def test_a_record_that_reaches_no_broker_is_cut_off_and_its_span_is_an_error(tmp_path):
    # Somebody who never answers: neither refused nor reached.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        kafka = ["--transport", "kafka", "--bootstrap-servers", servers, "--topic", "t"]
        with start([*IMPATIENT, *SEND[3:], *kafka, *IMAGES]) as process:
            wait_until("the image is on its way", lambda: statuses(tmp_path) == [("encode", 0)])
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    assert errors == "stopped by SIGTERM; 3 of 3 were not sent: a.jpg, b.jpg, c.jpg\n"
    assert dict(statuses(tmp_path)) == {"send image": ERROR, "encode": 0, "send t": ERROR}


def test_a_program_s_handlers_are_back_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with termination.Stopping():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def default_handler(pid: int) -> bool:
    """Whether SIGTERM would end this process by itself: from the first one on."""
    with open(f"/proc/{pid}/status") as status:
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    return not caught & 1 << (signal.SIGTERM - 1)


def test_ctrl_c_while_the_program_is_still_loading_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")  # at the first thing that is loaded
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from otel_kfs.cli import main; main()"
    with start([sys.executable, "-c", path]) as process:
        assert (*process.communicate(timeout=60), process.returncode) == ("", "", 130)
