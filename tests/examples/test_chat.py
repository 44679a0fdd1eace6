"""The example's chat: the same model behind V1 and behind OpenAI's chat route, and what it refuses."""

import json
import urllib.error
import urllib.request

import pytest
from support import PHOTO, read_traces, wait_until

from otel_kfs import HttpSender
from otel_kfs.demo import example
from otel_kfs.demo.model_servers import start_chat
from otel_kfs.demo.processes import Processes

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
