"""The /v1 forms, asked as a client of TF Serving asks."""
import json

import demo
import numpy as np
import pytest
import requests

VERSIONS = demo.versions()


def by_row(version) -> list:
    """The committed outputs of a version as TF Serving shows rows: a value, or an object of values."""
    outputs = demo.answered({"outputs": demo.rows(version.model)["expected"][str(version.number)]})
    count = len(demo.features(version.model))
    if len(outputs) == 1:
        return list(*outputs.values())
    return [{name: values[row] for name, values in outputs.items()} for row in range(count)]


def agree(got, wanted) -> None:
    """Compares one row."""
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for name in wanted:
            np.testing.assert_allclose(got[name], wanted[name], rtol=demo.TOLERANCE, atol=demo.TOLERANCE)
    else:
        np.testing.assert_allclose(got, wanted, rtol=demo.TOLERANCE, atol=demo.TOLERANCE)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_instances(gateway, version):
    body = {"signature_name": "serving_default", "instances": demo.features(version.model).tolist()}
    answer = gateway.v1(f"{version.model}/versions/{version.number}", body)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    wanted = by_row(version)
    assert len(predictions) == len(wanted)
    for got, expected in zip(predictions, wanted):
        agree(got, expected)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_instances_with_named_inputs(gateway, version):
    name = demo.rows(version.model)["inputs"][0]["name"]
    rows = [{name: row} for row in demo.features(version.model).tolist()]
    answer = gateway.v1(f"{version.model}/versions/{version.number}", {"instances": rows})
    assert answer.status_code == 200, answer.text
    agree(answer.json()["predictions"][0], by_row(version)[0])


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_inputs_as_columns(gateway, version):
    matrix = demo.features(version.model)
    answer = gateway.v1(f"{version.model}/versions/{version.number}", {"inputs": matrix.tolist()})
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"]
    wanted = demo.answered({"outputs": demo.rows(version.model)["expected"][str(version.number)]})
    if len(wanted) == 1:
        outputs = {name: outputs for name in wanted}
    demo.agree({name: np.array(outputs[name]) for name in wanted}, wanted)


@pytest.mark.parametrize("model", ["digits", "breast_cancer", "diabetes"])
def test_example_requests(gateway, model):
    body = json.loads((demo.DEMO / f"requests/{model}.v1.json").read_text())
    answer = gateway.v1(model, body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 1


def test_labels_follow_the_route_and_own_aliases(gateway):
    body = json.loads((demo.DEMO / "requests/digits.v1.json").read_text())
    stable = gateway.v1("digits/labels/stable", body)
    assert (stable.status_code, stable.headers["weighbridge-served-version"]) == (200, "1"), stable.text
    assert gateway.v1("digits/labels/best", body).status_code == 404
    assert gateway.administer("PUT", "/models/digits/aliases/best", json={"version": 2}).ok
    try:
        best = gateway.v1("digits/labels/best", body)
        assert (best.status_code, best.headers["weighbridge-served-version"]) == (200, "2"), best.text
        by_header = gateway.v1("digits", body, headers={"weighbridge-alias": "best"})
        assert by_header.headers["weighbridge-reason"] == "alias; name=best"
    finally:
        assert gateway.administer("DELETE", "/models/digits/aliases/best").ok


def test_status_and_lists(gateway):
    assert requests.get(f"{gateway.data}/", timeout=10).json() == {"status": "alive"}
    assert set(requests.get(f"{gateway.data}/v1/models", timeout=10).json()["models"]) == {
        "breast_cancer", "diabetes", "digits"}
    status = requests.get(f"{gateway.data}/v1/models/digits", timeout=10).json()
    assert status["ready"] is True
    states = {s["version"]: s["state"] for s in status["model_version_status"]}
    assert states == {"1": "AVAILABLE", "2": "AVAILABLE"}
