"""The committed demo models: their rows, their expected outputs, and ONNX Runtime on their files."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

DEMO = Path(__file__).resolve().parents[2] / "gateway/demo"
TOLERANCE = 1e-5
# Where two classes are this close, rounding decides which is the label.
TIE = 1e-6


@dataclass(frozen=True)
class Version:
    """One version of a demo model."""

    model: str
    number: int
    file: Path

    def __str__(self) -> str:
        return f"{self.model}-v{self.number}"


def versions() -> list[Version]:
    """Every version that is committed."""
    listing = json.loads((DEMO / "models/manifest.json").read_text())
    return [Version(m["name"], m["version"], DEMO / "models" / m["file"]) for m in listing["models"]]


def rows(model: str) -> dict:
    """The committed rows of a model, with the outputs expected of each version."""
    return json.loads((DEMO / f"rows/{model}.json").read_text())


def features(model: str) -> np.ndarray:
    """The committed rows as a matrix."""
    committed = rows(model)["inputs"][0]
    return np.array(committed["data"], dtype=np.float32).reshape(committed["shape"])


def tensor(model: str, matrix: np.ndarray) -> dict:
    """A matrix as the model's input; NaN goes as null, as JSON has no word for it."""
    committed = rows(model)["inputs"][0]
    flat = [None if np.isnan(value) else float(value) for value in matrix.reshape(-1)]
    return {"name": committed["name"], "datatype": "FP32", "shape": list(matrix.shape), "data": flat}


def run(version: Version, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs by name; a ZipMap output as its matrix."""
    session = onnxruntime.InferenceSession(str(version.file), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: matrix})
    return {o.name: plain(value) for o, value in zip(session.get_outputs(), outputs)}


def plain(value) -> np.ndarray:
    """An output as an array: a list of {class: probability} becomes a matrix in order of the classes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array([[row[name] for name in sorted(row)] for row in value], dtype=np.float32)


def answered(body: dict) -> dict[str, np.ndarray]:
    """The outputs of a v2 answer by name; null is NaN."""
    def array(output):
        values = [np.nan if value is None else value for value in output["data"]]
        kind = np.int64 if output["datatype"] == "INT64" else np.float64
        return np.array(values, dtype=kind).reshape(output["shape"])

    return {output["name"]: array(output) for output in body["outputs"]}


def agree(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Fails unless floats are within TOLERANCE of |wanted| (of 1 where it is smaller) and labels are the same."""
    assert list(got) == list(wanted)
    probabilities = next((v for v in wanted.values() if v.dtype.kind == "f" and v.ndim == 2), None)
    for name, expected in wanted.items():
        assert got[name].shape == expected.shape, name
        if expected.dtype.kind == "f":
            difference = np.abs(got[name] - expected) / np.maximum(1.0, np.abs(expected))
            assert difference.max() <= TOLERANCE, f"{name}: off by {difference.max():.3g}"
        else:
            top = np.sort(probabilities, axis=1)
            is_tie = top[:, -1] - top[:, -2] < TIE
            wrong = (got[name] != expected) & ~is_tie
            assert not wrong.any(), f"{name}: other labels in rows {np.flatnonzero(wrong).tolist()}"
