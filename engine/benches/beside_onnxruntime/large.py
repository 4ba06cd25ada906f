"""Writes three made-up networks with random weights for the bench beside ONNX Runtime:

    python3 engine/benches/beside_onnxruntime/large.py FOLDER

mlp_512_1024_1024_512 (512 features, ten outputs), minilm (six encoder layers of width 384 on 32
tokens) and resnet18 (images of 3 x 224 x 224), each NAME.onnx with its rows in NAME.json, in the
form of the fixtures. Needs numpy and onnx. The weights are those of a fresh network: times do not
depend on them. The files take 100 MB and are not committed.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """Nodes and weights in the order in which they are written."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, *shape, scale=None):
        """Normal weights, scaled so that a layer keeps the size of its input."""
        scale = scale or 1 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def filled(self, value, *shape):
        return self.constant(np.full(shape, value, np.float32))

    def node(self, op, *inputs, **attributes):
        output = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def save(self, folder, name, inputs, output, output_shape, rows):
        self.nodes.append(helper.make_node("Identity", [output], ["y"]))
        described = [
            helper.make_tensor_value_info(k, kind, ["N", *shape]) for k, kind, shape in inputs
        ]
        answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *output_shape])
        graph = helper.make_graph(self.nodes, name, described, [answer], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")
        tensors = []
        for key, kind, shape in inputs:
            if kind == TensorProto.INT64:
                high = 2 if "mask" in key else 1000
                low = 1 if "mask" in key else 0
                values, datatype = self.random.integers(low, high, (rows, *shape)), "INT64"
            else:
                values, datatype = self.random.standard_normal((rows, *shape)).round(3), "FP32"
            data = values.reshape(-1).tolist()
            tensors.append(
                {"name": key, "datatype": datatype, "shape": [rows, *shape], "data": data}
            )
        (folder / f"{name}.json").write_text(json.dumps({"inputs": tensors, "expected": []}))


def mlp(folder):
    g, y = Graph(1), "x"
    sizes = [512, 1024, 1024, 512, 10]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        y = g.node("Gemm", y, g.weight(a, b), g.filled(0.01, b))
        if i < len(sizes) - 2:
            y = g.node("Relu", y)
    g.save(folder, "mlp_512_1024_1024_512", [("x", TensorProto.FLOAT, [512])], y, [10], 64)


def linear(g, x, a, b):
    return g.node("Add", g.node("MatMul", x, g.weight(a, b)), g.filled(0.01, b))


def normalised(g, x, width):
    return g.node(
        "LayerNormalization", x, g.filled(1.0, width), g.filled(0.0, width), axis=-1, epsilon=1e-12
    )


def minilm(folder, tokens=32, width=384, heads=12, layers=6):
    g = Graph(2)
    words = g.node("Gather", g.weight(1000, width, scale=0.05), "input_ids")
    x = normalised(g, g.node("Add", words, g.weight(1, tokens, width, scale=0.05)), width)
    mask = g.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = g.node("Sub", g.filled(1.0, 1), mask)
    mask = g.node("Mul", mask, g.filled(-10000.0, 1))
    mask = g.node("Unsqueeze", mask, g.constant(np.array([1, 2], np.int64)))
    split = g.constant(np.array([0, tokens, heads, width // heads], np.int64))
    joined = g.constant(np.array([0, tokens, width], np.int64))
    for _ in range(layers):
        q, k, v = (g.node("Reshape", linear(g, x, width, width), split) for _ in range(3))
        q = g.node("Transpose", q, perm=[0, 2, 1, 3])
        k = g.node("Transpose", k, perm=[0, 2, 3, 1])
        v = g.node("Transpose", v, perm=[0, 2, 1, 3])
        scores = g.node("Div", g.node("MatMul", q, k), g.filled(np.sqrt(width / heads), 1))
        scores = g.node("Softmax", g.node("Add", scores, mask), axis=-1)
        mixed = g.node("Transpose", g.node("MatMul", scores, v), perm=[0, 2, 1, 3])
        mixed = linear(g, g.node("Reshape", mixed, joined), width, width)
        x = normalised(g, g.node("Add", x, mixed), width)
        inner = linear(g, x, width, 4 * width)
        erf = g.node("Erf", g.node("Div", inner, g.filled(np.sqrt(2), 1)))
        gelu = g.node("Mul", inner, g.node("Add", erf, g.filled(1.0, 1)))
        gelu = g.node("Mul", gelu, g.filled(0.5, 1))
        x = normalised(g, g.node("Add", x, linear(g, gelu, 4 * width, width)), width)
    y = g.node("ReduceMean", x, axes=[1], keepdims=0)
    inputs = [(name, TensorProto.INT64, [tokens]) for name in ("input_ids", "attention_mask")]
    g.save(folder, "minilm", inputs, y, [width], 8)


def resnet18(folder):
    g = Graph(3)

    def conv(x, a, b, size, stride):
        y = g.node(
            "Conv", x, g.weight(b, a, size, size), g.filled(0.0, b),
            strides=[stride] * 2, pads=[size // 2] * 4, kernel_shape=[size] * 2,
        )  # fmt: skip
        return y

    x = g.node("Relu", conv("x", 3, 64, 7, 2))
    x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    width = 64
    for stage, out in enumerate([64, 128, 256, 512]):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            y = g.node("Relu", conv(x, width, out, 3, stride))
            y = conv(y, out, out, 3, 1)
            shortcut = x if width == out else conv(x, width, out, 1, stride)
            x = g.node("Relu", g.node("Add", y, shortcut))
            width = out
    x = g.node("Flatten", g.node("GlobalAveragePool", x))
    y = g.node("Gemm", x, g.weight(512, 1000), g.filled(0.0, 1000))
    g.save(folder, "resnet18", [("x", TensorProto.FLOAT, [3, 224, 224])], y, [1000], 4)


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    mlp(target)
    minilm(target)
    resnet18(target)
