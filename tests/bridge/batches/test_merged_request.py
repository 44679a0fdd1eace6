"""Requests of several records as one: a model that answers each row by itself answers each record as if alone."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.bridge.batches.merged_request import merged, parsed
from otel_kfs.client.encodings import v2 as v2_tensors
from otel_kfs.errors import SendError

JSON = {"content-type": "application/json"}
BINARY = {"content-type": "application/octet-stream"}
LENGTH = "inference-header-content-length"


def v1(*instances, **more):
    return json.dumps({"instances": list(instances), **more}).encode()


def v2(rows, *, name="image", nested=False, row=2, **more):
    """Rows of so many numbers."""
    data = rows if nested else [value for one in rows for value in one]
    tensor = {"name": name, "shape": [len(rows), row], "datatype": "INT64", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def binary(*images, **more):
    """Images as BYTES, each with its length before it, behind the JSON; and the headers."""
    content = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "image", "shape": [len(images)], "datatype": "BYTES", "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + content, {**BINARY, LENGTH: str(len(head))}


def all_of(*bodies, headers=JSON):
    parts = [parsed(body, headers) for body in bodies]
    assert None not in parts
    return parts


def kinds(*bodies):
    return {part.kind for part in all_of(*bodies)}


rows = st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=1, max_size=4)


@given(st.lists(rows, min_size=1, max_size=5))
def test_each_record_of_v1_gets_its_own_predictions(records):
    request = merged(all_of(*(v1(*instances) for instances in records)))
    asked = json.loads(request.body)
    answer = {"predictions": [{"of": instance} for instance in asked["instances"]], "model": "m"}
    assert request.headers == JSON
    assert request.split(answer) == [
        {"predictions": [{"of": instance} for instance in instances], "model": "m"} for instances in records
    ]


@given(st.lists(rows, min_size=1, max_size=5), st.booleans())
def test_each_record_of_v2_gets_its_own_tensors(records, nested):
    request = merged(all_of(*(v2(rows, nested=nested, id=f"{n}") for n, rows in enumerate(records))))
    (tensor,) = json.loads(request.body)["inputs"]
    assert tensor["shape"] == [sum(map(len, records)), 2]
    outputs = [{"name": "same", "datatype": "INT64", "shape": tensor["shape"], "data": tensor["data"]}]
    expected = []
    for number, rows in enumerate(records):
        data = rows if nested else [value for row in rows for value in row]
        same = {"name": "same", "datatype": "INT64", "shape": [len(rows), 2], "data": data}
        expected.append({"id": f"{number}", "model_name": "m", "outputs": [same]})
    assert request.split({"id": "the server's", "model_name": "m", "outputs": outputs}) == expected


@given(st.lists(st.lists(st.binary(max_size=9), min_size=1, max_size=3), min_size=1, max_size=5))
def test_binary_tensors_are_put_one_behind_another(records):
    parts = [parsed(*binary(*images)) for images in records]
    request = merged(parts)
    whole, headers = binary(*(image for images in records for image in images))
    assert len({part.kind for part in parts}) == 1
    head = int(request.headers[LENGTH])
    assert json.loads(request.body[:head]) == json.loads(whole[: int(headers[LENGTH])])
    assert request.body[head:] == whole[int(headers[LENGTH]) :]
    classes = list(range(sum(map(len, records))))
    answer = {"outputs": [{"name": "class", "datatype": "INT64", "shape": [len(classes), 1], "data": classes}]}
    found = [one["outputs"][0] for one in request.split(answer)]
    assert [value for one in found for value in one["data"]] == classes
    assert [one["shape"] for one in found] == [[len(images), 1] for images in records]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (v1(1), v1(1, parameters={"top": 5})),
        (v1(1), v2([[1, 2]])),
        (v2([[1, 2]]), v2([[1, 2]], name="other")),
        (v2([[1, 2]]), v2([[1, 2, 3]], row=3)),
        (v2([[1, 2]]), v2([[1, 2]], nested=True)),
        (v2([[1, 2]]), v2([[1, 2]], outputs=[{"name": "class"}])),
    ],
)
def test_requests_that_differ_in_more_than_their_rows_are_of_two_kinds(one, other):
    assert len(kinds(one, other)) == 2


def test_ids_and_the_number_of_rows_make_no_difference():
    assert len(kinds(v2([[1, 2]], id="1"), v2([[1, 2], [3, 4]], id="2"))) == 1
    assert len(kinds(v1(1), v1(2, 3))) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"1",
        b"null",
        b"\xff\xd8 a picture",
        b'{"instances": []}',
        b'{"instances": 1}',
        b"[" * 100_000,
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{"name": "x"}]}',
        b'{"inputs": [{"shape": [], "data": []}]}',
        b'{"inputs": [{"shape": [2, 2], "data": [1, 2, 3]}]}',
        b'{"inputs": [{"shape": [1], "data": [1]}, {"shape": [2], "data": [1, 2]}]}',
        b'{"inputs": [{"shape": ["1"], "data": [1]}]}',
        b'{"inputs": [{"shape": [1], "parameters": {"binary_data_size": 8}}]}',
        b'{"inputs": [{"shape": [2, 2], "data": [1, 2]}]}',
        b'{"inputs": [{"shape": [1, 2], "data": [[1, 2, 3]]}]}',
        b'{"inputs": [{"shape": [2], "data": [1, [2, 3]]}]}',
        b'{"inputs": [{"shape": [2], "data": "ab"}]}',
    ],
)
def test_what_is_no_request_that_can_be_merged_is_left_to_the_server(body):
    assert parsed(body, JSON) is None


def flat(data):
    """The values of lists within lists."""
    return [value for one in data for value in flat(one)] if isinstance(data, list) else [data]


def served(body, headers):
    """What a server answers that looks at the number of values alone: each row, as one value; None where it refuses."""
    head = int(headers.get(LENGTH, len(body)))
    (tensor,) = json.loads(body[:head])["inputs"]
    rows, *row = tensor["shape"]
    width = math.prod(row)
    values = flat(tensor["data"]) if "data" in tensor else v2_tensors.values(tensor["datatype"], body[head:])
    if len(values) != rows * width:
        return None
    each = [str(values[at * width : at * width + width]) for at in range(rows)]
    return {"outputs": [{"name": "row", "datatype": "BYTES", "shape": [rows, 1], "data": each}]}


lengths = st.sampled_from([1, 2, 3])
tensors = st.builds(
    lambda rows, width, data: ({"shape": [rows, width], "datatype": "INT64", "data": data}, b""),
    lengths,
    lengths,
    st.lists(st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6),
) | st.builds(
    lambda rows, datatype, content: (
        {"shape": [rows, 1], "datatype": datatype, "parameters": {"binary_data_size": len(content)}},
        content,
    ),
    lengths,
    st.sampled_from(["INT16", "BYTES", "FP32", "BF16"]),
    st.lists(st.sampled_from([b"\0\0\0\0", b"\1\0", b"\1\0\0\0a", b"\0\0"]), max_size=4).map(b"".join),
)


@given(st.lists(tensors, min_size=2, max_size=5))
def test_values_that_do_not_fit_their_shape_move_nobody_else_s(records):
    by_kind = {}
    for tensor, content in records:
        head = json.dumps({"inputs": [{"name": "x", **tensor}]}).encode()
        headers = {LENGTH: str(len(head))} if content else {}
        if (part := parsed(head + content, headers)) is not None:
            by_kind.setdefault(part.kind, []).append((part, served(head + content, headers)))
    for each in by_kind.values():
        request = merged([part for part, _ in each])
        assert request.split(served(request.body, request.headers)) == [alone for _, alone in each]


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_a_request_or_none(body):
    parsed(body, JSON)
    parsed(body, {LENGTH: "3"})


@pytest.mark.parametrize("header", ["content-encoding", "ce-type"])
def test_what_other_headers_tell_of_is_sent_by_itself(header):
    assert parsed(v1(1), {header: "x"}) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [1]},
        {"predictions": [1, 2, 3]},
        {"predictions": 2},
        {"error": "none"},
        {"answer": [1, 2]},
    ],
)
def test_an_answer_that_does_not_fit_is_a_failure(answer):
    request = merged(all_of(v1(1), v1(2)))
    with pytest.raises(SendError, match="2 instances of 2 records can't be taken apart"):
        request.split(answer)


@pytest.mark.parametrize(
    "output",
    [
        {"name": "x", "shape": [1, 2], "data": [1, 2]},
        {"name": "x", "shape": [2, 2], "data": [1, 2, 3]},
        {"name": "x", "shape": [], "data": []},
        {"name": "x"},
        1,
    ],
)
def test_a_tensor_that_does_not_fit_is_a_failure(output):
    request = merged(all_of(v2([[1, 2]]), v2([[3, 4]])))
    with pytest.raises(SendError, match="can't be taken apart"):
        request.split({"outputs": [output]})


def test_values_that_not_every_json_has_leave_as_they_came():
    bodies = [b'{"instances": [NaN, 123456789012345678901234567890]}', b'{"instances": ["\\ud83d", -Infinity]}']
    request = merged(all_of(*bodies))
    assert request.body == b'{"instances":[NaN,123456789012345678901234567890,"\\ud83d",-Infinity]}'
