"""The Open Inference Protocol v2 with plain `requests`."""
import json

import demo
import numpy as np
import pytest
import requests

VERSIONS = demo.versions()


def expected(version) -> dict[str, np.ndarray]:
    """The committed outputs of a version."""
    return demo.answered({"outputs": demo.rows(version.model)["expected"][str(version.number)]})


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows_together(gateway, version):
    body = {"id": "all", "inputs": demo.rows(version.model)["inputs"]}
    answer = gateway.v2(version.model, body, version.number)
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "all"
    assert (answer.json()["model_name"], answer.json()["model_version"]) == (version.model, str(version.number))
    assert answer.headers["weighbridge-variant"] == "pinned"
    demo.agree(demo.answered(answer.json()), expected(version))


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows_one_by_one(gateway, version):
    wanted = expected(version)
    for place, row in enumerate(demo.features(version.model)):
        answer = gateway.v2(version.model, {"inputs": [demo.tensor(version.model, row[None])]}, version.number)
        assert answer.status_code == 200, answer.text
        demo.agree(demo.answered(answer.json()), {name: v[place:place + 1] for name, v in wanted.items()})


@pytest.mark.parametrize("model", ["digits", "breast_cancer", "diabetes"])
def test_example_requests_are_answered_by_the_promoted_version(gateway, model):
    body = json.loads((demo.DEMO / f"requests/{model}.json").read_text())
    answer = gateway.v2(model, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["weighbridge-served-version"] == "1"
    assert answer.headers["weighbridge-reason"] == "route"
    assert "queue;dur=" in answer.headers["server-timing"]


def test_nested_data_and_requested_outputs(gateway):
    row = demo.features("digits")[:2]
    body = {"inputs": [demo.tensor("digits", row) | {"data": row.tolist()}], "outputs": [{"name": "output_label"}]}
    answer = gateway.v2("digits", body)
    assert [o["name"] for o in answer.json()["outputs"]] == ["output_label"], answer.text


def test_metadata(gateway):
    server = requests.get(f"{gateway.data}/v2", timeout=10).json()
    assert server["name"] == "weighbridge" and "binary_tensor_data" in server["extensions"]
    assert requests.get(f"{gateway.data}/v2/models", timeout=10).json() == {
        "models": ["breast_cancer", "diabetes", "digits"]}
    model = requests.get(f"{gateway.data}/v2/models/digits", timeout=10).json()
    assert model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
    assert (model["platform"], model["versions"]) == ("onnx_onnxv1", ["1", "2"])
    pinned = requests.get(f"{gateway.data}/v2/models/digits/versions/2", timeout=10).json()
    assert pinned["properties"]["described_version"] == "2"


def test_request_ids_are_echoed_or_made(gateway):
    url = f"{gateway.data}/v2/health/live"
    assert requests.get(url, headers={"x-request-id": "mine-1"}, timeout=10).headers["x-request-id"] == "mine-1"
    assert len(requests.get(url, timeout=10).headers["x-request-id"]) == 32
