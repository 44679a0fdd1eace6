"""The example's chat: the same model behind V1 and behind OpenAI's chat route, and what it refuses."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections import Counter

import pytest
from jaeger_support import critical_path
from support import PHOTO, SERVER, read_traces, wait_until

from otel_kfs import HttpSender
from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.demo import example
from otel_kfs.demo.model_servers import start_chat
from otel_kfs.demo.processes import Processes
from otel_kfs.report.segment_names import segment_name

pytestmark = [pytest.mark.kserve, pytest.mark.model]


@pytest.fixture(scope="module")
def chat(model, cache, tmp_path_factory):
    """The server's URL, and where its spans go."""
    assert model.exists()
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch, Processes(folder / "logs") as processes:
        patch.setenv("OTEL_KFS_CACHE", str(cache))
        yield start_chat(processes, folder / "traces"), folder / "traces"


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_says_the_class_that_v1_answers(chat, stream):
    url, _ = chat
    (found,) = HttpSender(url, model="mobilenet").send(PHOTO)["predictions"]
    answer = HttpSender(url, model="mobilenet", encoding="openai", stream=stream).send(PHOTO)
    text = f"It shows class {found['class']} of ImageNet, with a probability of {found['score']:.2f}."
    assert [choice["message"]["content"] for choice in answer["choices"]] == [text]
    # The default prompt's five words and the picture; the sentence's words.
    assert answer["usage"]["prompt_tokens"] == 6
    assert answer["usage"]["completion_tokens"] == len(text.split())


def test_both_are_traced_each_with_its_own_steps(chat):
    url, traces = chat
    HttpSender(url, model="mobilenet").send(PHOTO)
    HttpSender(url, model="mobilenet", encoding="openai", stream=True).send(PHOTO)

    def names():
        found = {span.name for span in read_traces(traces)} if traces.exists() else set()
        return found if {"predict", "chat mobilenet"} <= found else None

    assert {"receive", "decode", "preprocess", "predict", "postprocess"} <= wait_until("both", names)


AROUND_STEPS = {"predictor request", "predictor queue", "predictor", "predictor response"}
# Who shows an image's time in Jaeger, its process and span, and the segments of the tables that the same time is.
SHOWN = {
    ("image-sender", "send image"): {"client"},
    ("image-sender", "chat mobilenet"): {"client"},
    ("image-sender", "encode"): {"encode"},
    ("image-sender", "POST"): AROUND_STEPS,
    ("image-sender", "upload"): AROUND_STEPS,  # on the path where it is over before the server's span begins
    ("mobilenet-chat", "POST /openai/v1/chat/completions"): AROUND_STEPS,
    ("mobilenet-chat", "receive"): {"predictor receive"},
    ("mobilenet-chat", "decode"): {"predictor decode"},
    ("mobilenet-chat", "chat mobilenet"): {"predictor first token", "predictor generate"},
}


def sent(url, traces):
    """The spans of one picture that was sent, and is the only one of its sender's file."""
    ours = traces / f"image-sender-{uuid.uuid4()}.jsonl"
    command = ["-m", "otel_kfs.cli", "send", "--transport", "openai", "--stream", "--url", url, "--model", "mobilenet"]
    subprocess.run(
        [sys.executable, *command, "--image", str(PHOTO), "--traces-file", str(ours)], check=True, capture_output=True
    )
    (trace_id,) = {span.trace_id for span in read_traces(ours)}

    def spans():
        found = [span for span in read_traces(traces) if span.trace_id == trace_id]
        return found if any(span.kind == SERVER for span in found) else None

    return wait_until("the server's spans", spans)


def upload_is_seen_in_time(spans):
    """Whether the sender saw that its upload was over before the server's span was: else Jaeger shows that alone."""
    (upload,) = [span for span in spans if span.name == "upload"]
    (server,) = [span for span in spans if span.kind == SERVER]
    return upload.end < server.end


def test_jaeger_s_critical_path_of_a_chat_names_what_the_segments_name(chat):
    url, traces = chat
    found = [sent(url, traces)]
    wait_until("an upload", lambda: upload_is_seen_in_time(found[-1]) or found.append(sent(url, traces)))
    whole = found[-1]
    trace_id = whole[0].trace_id
    measured = read(str(traces), processes=1)
    (images,) = [one for one in measured.series if trace_id in one.trace_ids]
    place = images.trace_ids.index(trace_id)
    segments = {segment_name(one): durations.values[place] for one, durations in images.segments.items()}
    shown, expected = Counter(), Counter()
    for step, time in critical_path(whole).items():
        shown[frozenset(SHOWN[step])] += time
    for names in map(frozenset, SHOWN.values()):
        expected[names] = sum(segments.get(name, 0) for name in names) // 1000
    assert {name for names in expected for name in names} >= segments.keys() - {"total"}
    apart = {tuple(sorted(names)): shown[names] - expected[names] for names in expected}
    assert {names: time for names, time in apart.items() if abs(time) > 12} == {}


@pytest.mark.parametrize(
    ("route", "body", "why"),
    [
        ("/v1/models/mobilenet:predict", {"instances": [{"b64": ""}]}, "not V1 JSON with pictures in base64"),
        ("/v1/models/mobilenet:predict", {"instances": [{"image_bytes": {"b64": "/9j/"}}]}, "the picture is"),
        ("/openai/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "give one picture"),
        (
            "/openai/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"image_url": {"url": "http://elsewhere/cat.jpg"}}]}]},
            "give one picture, as an image_url that is a data URI",
        ),
        (
            "/openai/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"image_url": {"url": "data:image/jpeg;base64,/9j/"}}]}]},
            "the picture is",
        ),
        ("/openai/v1/completions", {"prompt": "hi"}, "ask it by /chat/completions"),
    ],
)
def test_what_it_can_t_answer_is_400_with_the_reason(chat, route, body, why):
    content = json.dumps({"model": "mobilenet", **body}).encode()
    request = urllib.request.Request(chat[0] + route, content, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=60)
    assert (raised.value.code, why in raised.value.read().decode()) == (400, True)


def test_its_script_needs_kserve(monkeypatch):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(example.DemoError, match="kserve is not installed here"):
        example.chat_script()
