"""A saved network in the formats of other programs: ONNX, safetensors, a PyTorch state dict.

Each takes flattened pixels in the order of CIFAR-10 and gives the probabilities of the loss that
trained it. The packages are imported by the function that needs them.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli import __version__
from mlpcli.config.loading import to_dict
from mlpcli.errors import CheckpointError
from mlpcli.nn.activations import Gelu
from mlpcli.runs.checkpoint import Checkpoint

# Read by onnxruntime 1.20, the lowest version that is tested.
OPSET, IR_VERSION = 17, 8
ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def metadata(saved: Checkpoint) -> dict[str, str]:
    """Return what a file says of itself: label names and configuration, as JSON text."""
    return {
        "label_names": json.dumps(saved.label_names),
        "config": json.dumps(to_dict(saved.config)),
        "mlpcli": __version__,
    }


def to_onnx(saved: Checkpoint, *, uint8: bool = False) -> bytes:
    """Return an ONNX model in float32: `images` (N, 3072) to `probabilities` (N, K).

    Images are float32 in [0, 1], or uint8. Raises CheckpointError where a weight is too large for
    float32.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, NDArray[Any]] = {}
    nodes: list[Any] = []

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(name: str, value: Any) -> str:
        constants[name] = np.asarray(value, np.float32)
        return name

    out, kind = "images", TensorProto.FLOAT
    if uint8:
        kind = TensorProto.UINT8
        out = add("Div", add("Cast", out, to=TensorProto.FLOAT), constant("white", 255))
    layers = len(saved.layer_sizes) - 1
    for i in range(1, layers + 1):
        out = add("Gemm", out, *(constant(f"{p}{i}", _float32(saved, f"{p}{i}")) for p in "Wb"))
        if i == layers:
            break
        if saved.config.model.activation == "gelu":  # the operator itself came with opset 20
            cube = add("Mul", add("Mul", out, out), out)
            inner = add("Add", out, add("Mul", cube, constant("a", Gelu.A)))
            u = add("Tanh", add("Mul", inner, constant("c", Gelu.C)))
            half = add("Mul", out, constant("half", 0.5))
            out = add("Mul", half, add("Add", u, constant("one", 1)))
        else:
            out = add(ACTIVATIONS[saved.config.model.activation], out)
    last = {"axis": 1} if _is_softmax(saved) else {}
    add("Softmax" if last else "Sigmoid", out, **last)
    nodes[-1].output[0] = "probabilities"
    size, classes = saved.layer_sizes[0], saved.layer_sizes[-1]
    graph = helper.make_graph(
        nodes,
        saved.config.name,
        [helper.make_tensor_value_info("images", kind, ["N", size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mlpcli"
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, metadata(saved))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def to_safetensors(saved: Checkpoint) -> bytes:
    """Return W1, b1, W2, b2, … in the dtype of training, with `metadata` in the header."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in saved.named_params.items()}
    content = save(arrays, metadata(saved))
    # The order of the metadata is random: it is sorted, so that a network gives the same bytes.
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":"))
    return content[:8] + header.encode().ljust(size) + content[8 + size :]


def to_torch(saved: Checkpoint) -> bytes:
    """Return a state dict of a torch.nn.Sequential of Linear layers with activations between."""
    import torch

    state: dict[str, Any] = {}
    for i in range(len(saved.layer_sizes) - 1):
        weight, bias = (torch.from_numpy(saved.named_params[f"{p}{i + 1}"].copy()) for p in "Wb")
        state |= {f"{2 * i}.weight": weight.T.contiguous(), f"{2 * i}.bias": bias}
    with io.BytesIO() as file:
        torch.save(state, file)
        return file.getvalue()


def _is_softmax(saved: Checkpoint) -> bool:
    return saved.config.loss == "softmax_cross_entropy"


def _float32(saved: Checkpoint, name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        array = saved.named_params[name].astype(np.float32)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name}: a weight is too large for float32")
    return array
