"""Models beside the demo, for what it lacks: text, halves, doubles, several inputs."""
from pathlib import Path

import numpy as np
import onnxruntime

FIXTURES = Path(__file__).resolve().parents[2] / "engine/tests/fixtures"
FILES = {
    "classes": FIXTURES / "trees_0056_clf3_by_tree_softmax_base3.onnx",
    "columns": FIXTURES / "columns_gb.onnx",
    "half": FIXTURES / "half.onnx",
    "pair": FIXTURES / "two_inputs.onnx",
    "texts": FIXTURES / "texts.onnx",
    "tokens": FIXTURES / "embed_pool.onnx",
}
# Of float16, whose products are added up in an order that is each engine's own.
HALF_TOLERANCE = 2e-3


def text(*rows) -> np.ndarray:
    """Rows of text as ONNX Runtime wants them."""
    return np.array(rows, dtype=object)


def inputs(model: str) -> dict[str, np.ndarray]:
    """Some rows for a model, the same each time."""
    random = np.random.default_rng(7)

    def number(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "classes": lambda: {"X": random.normal(size=(5, 4))},
        "columns": lambda: {"age": number(3, 1) * 20 + 40, "fare": number(3, 1) ** 2 * 50,
                            "sex": text(["f"], ["m"], ["other"]), "port": text(["C"], ["Q"], ["S"])},
        "half": lambda: {"x": number(3, 4).astype(np.float16)},
        "pair": lambda: {"a": number(3, 2), "b": number(3, 2)},
        "texts": lambda: {"x": text(["plain", "Größe"], ["", "日本語"], ["\u00a0 \n\t\"\\", "x" * 300])},
        "tokens": lambda: {"ids": np.array([[1, 2, 3], [3, 0, 0]]), "mask": np.array([[1, 1, 1], [1, 0, 0]])},
    }[model]()


def run(model: str, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs by name."""
    session = onnxruntime.InferenceSession(str(FILES[model]), providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, rows)))


def agree(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """Fails unless both have the same outputs with the same shapes and values; text may have come as bytes."""
    assert list(got) == list(wanted)
    for name, expected in wanted.items():
        assert got[name].shape == expected.shape, name
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(got[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            assert [as_text(value) for value in got[name].flat] == [as_text(value) for value in expected.flat], name


def as_text(value):
    """Bytes as the text that they are, all else as it is."""
    return value.decode() if isinstance(value, bytes) else value
