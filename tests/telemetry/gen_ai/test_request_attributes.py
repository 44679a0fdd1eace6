"""What a request sets is on its call's span by the names of the conventions; what is no such value is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.telemetry.gen_ai.request_attributes import request_attributes


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("max_tokens", 7, {"gen_ai.request.max_tokens": 7}),
        ("max_completion_tokens", 7, {"gen_ai.request.max_tokens": 7}),
        ("temperature", 0.5, {"gen_ai.request.temperature": 0.5}),
        ("top_p", 0.9, {"gen_ai.request.top_p": 0.9}),
        ("top_k", 3, {"gen_ai.request.top_k": 3}),
        ("seed", 0, {"gen_ai.request.seed": 0}),
        ("frequency_penalty", 1, {"gen_ai.request.frequency_penalty": 1}),
        ("presence_penalty", 1, {"gen_ai.request.presence_penalty": 1}),
        ("dimensions", 256, {"gen_ai.embeddings.dimension.count": 256}),
        ("stream", True, {"gen_ai.request.stream": True}),
        ("stream", False, {}),
        ("n", 2, {"gen_ai.request.choice.count": 2}),
        ("n", 1, {}),
        ("stop", "end", {"gen_ai.request.stop_sequences": ["end"]}),
        ("stop", ["a", "b"], {"gen_ai.request.stop_sequences": ["a", "b"]}),
        ("stop", [], {}),
        ("encoding_format", "base64", {"gen_ai.request.encoding_formats": ["base64"]}),
        ("response_format", {"type": "text"}, {"gen_ai.output.type": "text"}),
        ("response_format", {"type": "json_object"}, {"gen_ai.output.type": "json"}),
        ("response_format", {"type": "json_schema"}, {"gen_ai.output.type": "json"}),
        ("messages", [{"role": "user", "content": "a secret"}], {}),
        ("prompt", "a secret", {}),
        ("temperature", True, {}),
        ("temperature", None, {}),
    ],
)
def test_a_field_is_an_attribute(field, value, expected):
    fields = {"model": "m", field: value}
    assert request_attributes(fields, fields) == expected


def test_a_default_that_the_caller_has_not_set_is_none():
    assert request_attributes({"temperature": 0.7, "top_p": 1.0, "stop": "end"}, {"top_p"}) == {
        "gen_ai.request.top_p": 1.0
    }


FIELDS = ("max_tokens", "temperature", "n", "stop", "stream", "encoding_format", "response_format", "dimensions")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(fields=st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_whatever_a_request_holds_an_attribute_is_of_a_type_that_spans_have(fields):
    for value in request_attributes(fields, fields).values():
        items = value if isinstance(value, list) else [value]
        assert {type(item) for item in items} <= {bool, int, float, str}
