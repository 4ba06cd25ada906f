#!/usr/bin/env python3
"""Makes the demo models, their expected answers and their example requests.

    python train.py            trains and writes models/, rows/ and requests/
    python train.py --check    writes nothing here; proves that what is committed still holds

The check asks two questions; a "no" to either ends with exit code 1.

1. Does ONNX Runtime, on the committed .onnx files, give the committed answers?
   Labels must be equal, floats within COMMITTED_TOLERANCE.
2. Does training again give models that answer the committed rows alike?
   Labels must be equal, floats within RETRAINED_TOLERANCE; rows, targets, requests and the
   manifest must be the same, held-out scores within SCORE_TOLERANCE.

A difference is |got - expected| / max(1, |expected|).

How far the tolerances can be trusted:
* On one kind of CPU nothing varies: the retrained files have the committed bytes.
* Other BLAS kernels (OPENBLAS_CORETYPE of SSE, AVX, AVX2 and AVX-512 machines) and numpy without
  AVX2 and AVX-512 were tried on one machine: the weights of networks and linear models moved by
  about 2e-12 at most, the trees not at all, and rounded to float32 the files were the same. So
  1e-5 leaves room that was not needed.
* ONNX Runtime's own kernels cannot be chosen, so question 1 was only seen on an AVX-512 CPU.
  On the committed rows its answers are within 2.2e-7 of scikit-learn in double precision, and
  asking row by row moves them by at most 1.2e-7: another CPU should stay well within 1e-6.
* Not tried: other processors than x86-64, other versions than those of requirements.txt.
"""
import os

# Before numpy is imported: one thread, so that no sum depends on how work was divided.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
SEED = 0
HELD_OUT_SHARE = 0.3
COMMITTED_ROWS = 8
OPSET = {"": 17, "ai.onnx.ml": 3}

COMMITTED_TOLERANCE = 1e-6
RETRAINED_TOLERANCE = 1e-5
SCORE_TOLERANCE = 0.005

DATATYPES = {"float32": "FP32", "int64": "INT64"}


# ---- what is made -------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """One version of a demo model: how to build the estimator, and what to say about it."""

    number: int
    description: str
    build: Callable[[], BaseEstimator]


@dataclass(frozen=True)
class DemoModel:
    """A name, the data set behind it and the versions trained on that data set."""

    name: str
    input_name: str
    load: Callable
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set cut into the part to learn from and the part held out."""

    train_features: np.ndarray
    train_target: np.ndarray
    held_out_features: np.ndarray
    held_out_target: np.ndarray
    class_names: list[str] | None


def _scaled(estimator):
    """The estimator behind a StandardScaler, so that clients send raw values."""
    return make_pipeline(StandardScaler(), estimator)


MODELS = (
    DemoModel("digits", "image", load_digits, (
        Version(1, "Handwritten digits, 8x8 pixels of 0..16: a hidden layer of 32, trained briefly",
                lambda: _scaled(MLPClassifier((32,), max_iter=30, random_state=SEED))),
        Version(2, "Handwritten digits, 8x8 pixels of 0..16: hidden layers of 128 and 64",
                lambda: _scaled(MLPClassifier((128, 64), max_iter=60, random_state=SEED))),
    )),
    DemoModel("breast_cancer", "features", load_breast_cancer, (
        Version(1, "Benign or malignant from 30 measurements of cell nuclei: logistic regression",
                lambda: _scaled(LogisticRegression())),
        Version(2, "Benign or malignant from 30 measurements of cell nuclei: 100 boosted trees",
                lambda: GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=SEED)),
    )),
    DemoModel("diabetes", "features", lambda: load_diabetes(scaled=False), (
        Version(1, "Progression of diabetes after a year from 10 measurements: 100 boosted trees",
                lambda: GradientBoostingRegressor(n_estimators=100, max_depth=3, learning_rate=0.05,
                                                  random_state=SEED)),
        Version(2, "Progression of diabetes after a year from 10 measurements: ridge regression",
                lambda: _scaled(Ridge())),
    )),
)


# ---- training -----------------------------------------------------------------------------


def load_dataset(model: DemoModel) -> Dataset:
    """Loads and splits a data set; classes keep their shares in both parts.

    The values are rounded to float32, which is what clients send, but kept as float64, so that
    training computes in double precision.
    """
    bunch = model.load()
    class_names = [str(name) for name in bunch.target_names] if "target_names" in bunch else None
    parts = train_test_split(
        bunch.data.astype(np.float32).astype(np.float64), bunch.target,
        test_size=HELD_OUT_SHARE, random_state=SEED, stratify=bunch.target if class_names else None)
    train_features, held_out_features, train_target, held_out_target = parts
    return Dataset(train_features, train_target, held_out_features.astype(np.float32),
                   held_out_target, class_names)


def train(version: Version, dataset: Dataset) -> BaseEstimator:
    """The fitted estimator of a version."""
    estimator = version.build()
    with warnings.catch_warnings():
        # The networks stop after a chosen number of passes, not when they have converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(dataset.train_features, dataset.train_target)


def export(model: DemoModel, version: Version, estimator: BaseEstimator) -> bytes:
    """The estimator as ONNX, with the exporter's default options (so ZipMap stays on)."""
    width = estimator.n_features_in_
    proto = convert_sklearn(
        estimator, name=f"{model.name}-v{version.number}", doc_string=version.description,
        initial_types=[(model.input_name, FloatTensorType([None, width]))], target_opset=OPSET)
    sort_opsets(proto)
    content = proto.SerializeToString(deterministic=True)
    refuse_local_paths(content)
    return content


def sort_opsets(proto: onnx.ModelProto) -> None:
    """Orders the opset list, which the exporter writes in the order of a hash set.

    Nothing is taken out: the exporter may name a domain twice, and real exports have that too.
    """
    opsets = sorted(proto.opset_import, key=lambda opset: (opset.domain, opset.version))
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)


def refuse_local_paths(content: bytes) -> None:
    """Raises if the content names a folder of this machine."""
    for folder in (HERE, Path.cwd(), Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())):
        if folder != Path("/") and f"{folder}/".encode() in content:
            raise RuntimeError(f"an exported model names the local folder {folder}")


def run_onnx(content: bytes, features: np.ndarray) -> list[dict]:
    """ONNX Runtime's outputs for these rows, as tensors of the Open Inference Protocol."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    values = session.run(None, {session.get_inputs()[0].name: features})
    return [output_tensor(output.name, value) for output, value in zip(session.get_outputs(), values)]


def output_tensor(name: str, value) -> dict:
    """One output as a tensor; a ZipMap output becomes its matrix, with the labels beside it."""
    if isinstance(value, np.ndarray):
        return tensor(name, value)
    labels = sorted(value[0])  # scikit-learn numbers its classes in sorted order
    matrix = np.array([[row[label] for label in labels] for row in value], dtype=np.float32)
    return tensor(name, matrix) | {"labels": labels}


def tensor(name: str, array: np.ndarray) -> dict:
    """A tensor of the Open Inference Protocol, its data flat."""
    flat = array.reshape(-1)
    data = [shortest(value) for value in flat] if array.dtype == np.float32 else flat.tolist()
    return {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape), "data": data}


def shortest(value: np.float32) -> float:
    """The float with the fewest digits that is read back as the same float32 (17.99, not 17.989999771118164)."""
    short = float(str(value))
    return short if np.float32(short) == value else float(value)


def held_out_score(estimator: BaseEstimator, content: bytes, dataset: Dataset) -> dict:
    """Accuracy or R2 of the exported model over the whole held-out part."""
    metric, measure = ("accuracy", accuracy_score) if is_classifier(estimator) else ("r2", r2_score)
    predicted = run_onnx(content, dataset.held_out_features)[0]["data"]
    return {"metric": metric, "held_out": round(measure(dataset.held_out_target, predicted), 4),
            "held_out_rows": len(dataset.held_out_target)}


def pick_rows(dataset: Dataset) -> list[int]:
    """Which held-out rows to commit: the classes in turn, or spread from low to high targets.

    Every class is there at least once, so there may be more than COMMITTED_ROWS.
    """
    target = dataset.held_out_target
    if dataset.class_names is None:
        ranks = np.linspace(0, len(target) - 1, COMMITTED_ROWS).round().astype(int)
        return np.argsort(target, kind="stable")[ranks].tolist()
    classes = len(dataset.class_names)
    rounds = -(-COMMITTED_ROWS // classes)
    return [int(np.flatnonzero(target == label)[turn]) for turn in range(rounds) for label in range(classes)]


# ---- writing ------------------------------------------------------------------------------


def make_all(folder: Path) -> None:
    """Trains every version and writes all products below the folder."""
    for name in ("models", "rows", "requests"):
        (folder / name).mkdir(exist_ok=True)
    entries = [entry for model in MODELS for entry in make_model(model, folder)]
    write_json(folder / "models/manifest.json", {"models": entries})


def make_model(model: DemoModel, folder: Path) -> list[dict]:
    """Trains and writes one model's versions, rows and requests; returns its manifest entries."""
    dataset = load_dataset(model)
    picked = pick_rows(dataset)
    features = dataset.held_out_features[picked]
    names = {"class_names": dataset.class_names} if dataset.class_names else {}
    entries, expected = [], {}
    for version in model.versions:
        estimator = train(version, dataset)
        content = export(model, version, estimator)
        (folder / model_path(model, version)).write_bytes(content)
        expected[str(version.number)] = run_onnx(content, features)
        entries.append({"name": model.name, "version": version.number,
                        "file": model_path(model, version).name, "description": version.description,
                        **names, "score": held_out_score(estimator, content, dataset)})
    write_json(folder / rows_path(model), {
        "model": model.name, **names, "inputs": [tensor(model.input_name, features)],
        "target": dataset.held_out_target[picked].tolist(), "expected": expected})
    write_requests(model, features[:1], folder)
    return entries


def write_requests(model: DemoModel, row: np.ndarray, folder: Path) -> None:
    """One row as a body for each of the two protocols."""
    v2, v1 = request_paths(model)
    body = tensor(model.input_name, row)
    write_json(folder / v2, {"inputs": [body]})
    write_json(folder / v1, {"instances": [body["data"]]})


def model_path(model: DemoModel, version: Version) -> Path:
    """Where a version's ONNX file lies."""
    return Path("models") / f"{model.name}-v{version.number}.onnx"


def rows_path(model: DemoModel) -> Path:
    """Where a model's rows and expected outputs lie."""
    return Path("rows") / f"{model.name}.json"


def request_paths(model: DemoModel) -> tuple[Path, Path]:
    """Where a model's example bodies lie: Open Inference Protocol, TensorFlow Serving."""
    return Path("requests") / f"{model.name}.json", Path("requests") / f"{model.name}.v1.json"


def write_json(path: Path, value) -> None:
    """Writes JSON for people: lists of plain values on one line, everything else indented."""
    path.write_text(layout(value) + "\n", encoding="utf-8")


def layout(value, indent: str = "") -> str:
    """The value as JSON text whose further lines start at the indent."""
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {layout(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + indent + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(inner + layout(item, inner) for item in value) + "\n" + indent + "]"
    return json.dumps(value, allow_nan=False)


def read_json(path: Path):
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


# ---- checking -----------------------------------------------------------------------------


class Comparison:
    """Collects what disagrees, and the worst float difference seen where all was well."""

    def __init__(self, what: str, tolerance: float):
        self.what = what
        self.tolerance = tolerance
        self.worst = 0.0
        self.problems: list[str] = []

    def problem(self, text: str) -> None:
        """Notes a disagreement."""
        self.problems.append(f"{self.what}: {text}")

    def equal(self, where: str, got, expected) -> None:
        """Notes a disagreement unless both are the same."""
        if got != expected:
            self.problem(f"{where}: not as committed")

    def outputs(self, where: str, got: list[dict], expected: list[dict]) -> None:
        """Compares all outputs of one version."""
        if [output["name"] for output in got] != [output["name"] for output in expected]:
            self.problem(f"{where}: the outputs have other names")
            return
        for got_output, expected_output in zip(got, expected):
            self.output(f"{where}, output {got_output['name']}", got_output, expected_output)

    def output(self, where: str, got: dict, expected: dict) -> None:
        """Compares one output: form and labels exactly, floats within the tolerance."""
        form = ("datatype", "shape", "labels")
        if [got.get(key) for key in form] != [expected.get(key) for key in form] \
                or len(got["data"]) != len(expected["data"]):
            self.problem(f"{where}: datatype, shape, labels or length differ")
            return
        if expected["datatype"] == "FP32":
            self.floats(where, got, expected)
        else:
            wrong = [row for row, pair in enumerate(zip(got["data"], expected["data"])) if pair[0] != pair[1]]
            if wrong:
                self.problem(f"{where}: {len(wrong)} of {len(got['data'])} labels differ, in rows {wrong}")

    def floats(self, where: str, got: dict, expected: dict) -> None:
        """Compares the values of one float output."""
        differences = relative_difference(got["data"], expected["data"])
        worst = float(differences.max())
        if worst <= self.tolerance:  # false for NaN too
            self.worst = max(self.worst, worst)
        else:
            row = int(differences.argmax()) * expected["shape"][0] // len(differences)
            self.problem(f"{where}: worst difference {worst:.3g} in row {row}, allowed {self.tolerance:g}")


def relative_difference(got: list, expected: list) -> np.ndarray:
    """|got - expected|, relative where the expected value is above 1."""
    got, expected = np.array(got, dtype=np.float64), np.array(expected, dtype=np.float64)
    return np.abs(got - expected) / np.maximum(1.0, np.abs(expected))


def check_committed(folder: Path) -> Comparison:
    """Runs the committed models on the committed rows."""
    comparison = Comparison("committed model against committed rows", COMMITTED_TOLERANCE)
    for model in MODELS:
        rows = read_json(folder / rows_path(model))
        for version in model.versions:
            where = f"{model.name} version {version.number}"
            try:
                got = run_onnx((folder / model_path(model, version)).read_bytes(), read_features(rows))
            except Exception as error:  # ONNX Runtime has no common base class for its errors
                comparison.problem(f"{where}: {model_path(model, version)} does not run: {error}")
            else:
                comparison.outputs(where, got, rows["expected"].get(str(version.number), []))
    return comparison


def read_features(rows: dict) -> np.ndarray:
    """The input matrix of a rows file."""
    values = rows["inputs"][0]
    return np.array(values["data"], dtype=np.float32).reshape(values["shape"])


def check_retrained(committed: Path, retrained: Path) -> Comparison:
    """Compares freshly made products with the committed ones."""
    comparison = Comparison("retrained against committed", RETRAINED_TOLERANCE)
    for model in MODELS:
        got, expected = read_json(retrained / rows_path(model)), read_json(committed / rows_path(model))
        got_outputs, expected_outputs = got.pop("expected"), expected.pop("expected")
        comparison.equal(f"{model.name}: inputs, targets or class names in {rows_path(model)}", got, expected)
        comparison.equal(f"{model.name}: the versions in {rows_path(model)}",
                         list(got_outputs), list(expected_outputs))
        for version in got_outputs.keys() & expected_outputs.keys():
            comparison.outputs(f"{model.name} version {version}", got_outputs[version], expected_outputs[version])
        for path in request_paths(model):
            comparison.equal(f"{model.name}: {path}", read_json(retrained / path), read_json(committed / path))
    compare_manifests(comparison, read_json(retrained / "models/manifest.json"),
                      read_json(committed / "models/manifest.json"))
    return comparison


def compare_manifests(comparison: Comparison, got: dict, expected: dict) -> None:
    """Compares two manifests: scores within SCORE_TOLERANCE, the rest exactly."""
    got_scores = [entry["score"].pop("held_out") for entry in got["models"]]
    expected_scores = [entry["score"].pop("held_out") for entry in expected["models"]]
    comparison.equal("models/manifest.json, scores aside", got, expected)
    for entry, score, committed in zip(got["models"], got_scores, expected_scores):
        if not abs(score - committed) <= SCORE_TOLERANCE:
            comparison.problem(f"{entry['name']} version {entry['version']}: the held-out score is {score}, "
                               f"committed is {committed}, allowed {SCORE_TOLERANCE}")


def count_identical(committed: Path, retrained: Path) -> str:
    """How many retrained .onnx files are byte for byte the committed ones."""
    paths = [model_path(model, version) for model in MODELS for version in model.versions]
    same = sum((committed / path).is_file() and (committed / path).read_bytes() == (retrained / path).read_bytes()
               for path in paths)
    return f"{same} of {len(paths)} files byte-identical"


def check(folder: Path) -> int:
    """Runs both comparisons, reports them and returns the exit code."""
    with tempfile.TemporaryDirectory() as temporary:
        retrained = Path(temporary)
        make_all(retrained)
        comparisons = [check_committed(folder), check_retrained(folder, retrained)]
        identical = count_identical(folder, retrained)
    for comparison in comparisons:
        for problem in comparison.problems:
            print(f"FAILED {problem}", file=sys.stderr)
        if not comparison.problems:
            print(f"ok {comparison.what}: worst difference {comparison.worst:.3g}, allowed {comparison.tolerance:g}")
    print(f"retrained models: {identical}")
    return 1 if any(comparison.problems for comparison in comparisons) else 0


def main() -> int:
    """Reads the command line and makes or checks."""
    parser = argparse.ArgumentParser(description="makes the demo models")
    parser.add_argument("--check", action="store_true", help="verify the committed files, write nothing")
    if parser.parse_args().check:
        return check(HERE)
    make_all(HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
