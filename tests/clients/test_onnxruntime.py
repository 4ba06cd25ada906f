"""The gateway against ONNX Runtime, live, on rows that nobody chose."""
import demo
import numpy as np
import pytest

SEED = 20260101
VERSIONS = demo.versions()
TREES = [v for v in VERSIONS if str(v) in ("breast_cancer-v2", "diabetes-v1")]


def drawn(model: str, count: int) -> np.ndarray:
    """Rows in and around the range of the committed ones."""
    committed = demo.features(model)
    low, high = committed.min(axis=0), committed.max(axis=0)
    margin = 0.25 * (high - low)
    random = np.random.default_rng(SEED)
    return random.uniform(low - margin, high + margin, (count, committed.shape[1])).astype(np.float32)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_large_batch(gateway, version):
    matrix = drawn(version.model, 500)
    answer = gateway.v2(version.model, {"inputs": [demo.tensor(version.model, matrix)]}, version.number)
    assert answer.status_code == 200, answer.text
    demo.agree(demo.answered(answer.json()), demo.run(version, matrix))


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_single_rows(gateway, version):
    matrix = drawn(version.model, 30)
    wanted = demo.run(version, matrix)
    for place, row in enumerate(matrix):
        answer = gateway.v2(version.model, {"inputs": [demo.tensor(version.model, row[None])]}, version.number)
        demo.agree(demo.answered(answer.json()), {name: v[place:place + 1] for name, v in wanted.items()})


@pytest.mark.parametrize("version", TREES, ids=str)
def test_missing_values_take_the_same_branches(gateway, version):
    matrix = drawn(version.model, 100)
    matrix[np.random.default_rng(SEED).random(matrix.shape) < 0.2] = np.nan
    answer = gateway.v2(version.model, {"inputs": [demo.tensor(version.model, matrix)]}, version.number)
    assert answer.status_code == 200, answer.text
    demo.agree(demo.answered(answer.json()), demo.run(version, matrix))
