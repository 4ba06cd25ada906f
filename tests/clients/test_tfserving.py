"""TensorFlow Serving's REST API beyond plain predictions: b64, NaN, classify, regress, status, metadata."""
import base64
import json
from contextlib import contextmanager

import demo
import extra
import numpy as np
import pytest
import requests

BREAST_CANCER = next(version for version in demo.versions() if str(version) == "breast_cancer-v1")
DIABETES = next(version for version in demo.versions() if str(version) == "diabetes-v1")


def get(gateway, path: str) -> requests.Response:
    """A question about models."""
    return requests.get(f"{gateway.data}/v1/models/{path}", timeout=10)


@contextmanager
def settings(gateway, model: str, **values: str):
    """Settings of a model, for a while."""
    told = gateway.administer("PATCH", f"/models/{model}/settings", json=values)
    assert told.status_code == 200, told.text
    try:
        yield
    finally:
        gateway.administer("PATCH", f"/models/{model}/settings", json=dict.fromkeys(values, "default"))


def rows(model: str) -> list[dict]:
    """The rows of an extra model as TF Serving's: an object each, a column of one value as that value."""
    inputs = extra.inputs(model)
    count = len(next(iter(inputs.values())))
    return [{name: array[row].tolist() if array.shape[1] > 1 else array[row, 0] if array.dtype == object
             else float(array[row, 0]) for name, array in inputs.items()} for row in range(count)]


# ---- predict ------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_base64(workshop, named):
    texts = extra.inputs("texts")["x"]
    packed = [[{"b64": base64.b64encode(text.encode()).decode()} for text in row] for row in texts]
    answer = workshop.v1("texts", {"instances": [{"x": row} for row in packed] if named else packed})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == texts.tolist()
    columns = workshop.v1("texts", {"inputs": {"x": packed} if named else packed})
    assert columns.json() == {"outputs": texts.tolist()}


@pytest.mark.parametrize("wrong", [{"b64": "*"}, {"b64": 1}, {"b64": "YQ==", "more": 1}, {"b32": "ME======"}])
def test_what_is_no_base64(workshop, wrong):
    answer = workshop.v1("texts", {"instances": [["a", wrong]]})
    assert answer.status_code == 400 and "x" in answer.json()["error"], answer.text


def test_base64_is_for_text(gateway):
    answer = gateway.v1("digits", {"instances": [{"b64": base64.b64encode(bytes(256)).decode()}]})
    assert answer.status_code == 400 and "image" in answer.json()["error"], answer.text


def test_several_inputs_and_outputs(workshop):
    inputs = extra.inputs("columns")
    wanted = extra.run("columns", inputs)
    # A body without a content type, as curl and TF Serving's own examples send it.
    body = json.dumps({"instances": [{name: array[row].tolist() for name, array in inputs.items()}
                                     for row in range(3)]})
    by_row = requests.post(f"{workshop.data}/v1/models/columns:predict", data=body, timeout=30)
    assert by_row.status_code == 200, by_row.text
    predictions = by_row.json()["predictions"]
    extra.agree({name: np.array([row[name] for row in predictions]) for name in wanted}, wanted)
    by_column = workshop.v1("columns", {"inputs": {name: array.tolist() for name, array in inputs.items()}})
    assert by_column.status_code == 200, by_column.text
    extra.agree({name: np.array(by_column.json()["outputs"][name]) for name in wanted}, wanted)


@pytest.mark.parametrize(("dialect", "wanted"), [("tfs", "[NaN,1.5,Infinity,-Infinity]"),
                                                 ("kserve", "[null,1.5,null,null]")])
def test_numbers_that_json_has_not(workshop, dialect, wanted):
    body = '{"instances": [{"a": [NaN, 1.5], "b": [Infinity, -Infinity]}]}'
    with settings(workshop, "pair", v1_dialect=dialect, allow_nan="true"):
        answer = requests.post(f"{workshop.data}/v1/models/pair:predict", data=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.text.replace(" ", "").replace("\n", "") == f'{{"predictions":[{wanted}]}}'


@pytest.mark.parametrize(("body", "said"), [
    ({}, "instances"),
    ({"instances": [[0] * 64], "inputs": [[0] * 64]}, "instances"),
    ({"instances": []}, "instances"),
    ({"instances": [[0] * 64], "signature_name": "nobody"}, "nobody"),
])
def test_bodies_of_no_sense(gateway, body, said):
    answer = gateway.v1("digits", body)
    assert answer.status_code == 400 and said in answer.json()["error"], answer.text


def test_unknown_members_are_passed_over(gateway):
    row = demo.features("digits")[0].tolist()
    answer = gateway.v1("digits/versions/1", {"instances": [row], "signature_name": "serving_default", "mine": 1})
    (wanted,) = demo.run(demo.versions()[0], demo.features("digits")[:1])["output_label"]
    assert answer.json()["predictions"][0]["output_label"] == wanted


# ---- classify and regress -----------------------------------------------------------------


def test_classify(gateway):
    matrix = demo.features("breast_cancer")
    answer = gateway.v1("breast_cancer/versions/1", {"examples": [{"features": row} for row in matrix.tolist()]},
                        "classify")
    assert answer.status_code == 200, answer.text
    scores = demo.run(BREAST_CANCER, matrix)["output_probability"]
    results = answer.json()["results"]
    assert [[label for label, _ in row] for row in results] == [["malignant", "benign"]] * len(matrix)
    np.testing.assert_allclose([[score for _, score in row] for row in results], scores, atol=1e-5)


def test_classify_examples_of_several_features(workshop):
    answer = workshop.v1("columns", {"signature_name": "serving_default", "examples": rows("columns")}, "classify")
    assert answer.status_code == 200, answer.text
    scores = extra.run("columns", extra.inputs("columns"))["probabilities"]
    assert [[label for label, _ in row] for row in answer.json()["results"]] == [["0", "1"]] * 3
    np.testing.assert_allclose([[score for _, score in row] for row in answer.json()["results"]], scores, atol=1e-5)


def test_classify_with_what_the_examples_have_in_common(workshop):
    inputs = extra.inputs("columns")
    inputs["port"][:] = "S"
    examples = [{name: value for name, value in row.items() if name != "port"} for row in rows("columns")]
    answer = workshop.v1("columns", {"context": {"port": "S"}, "examples": examples}, "classify")
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose([[score for _, score in row] for row in answer.json()["results"]],
                               extra.run("columns", inputs)["probabilities"], atol=1e-5)


def test_regress(gateway):
    matrix = demo.features("diabetes")
    answer = gateway.v1("diabetes/versions/1", {"examples": [{"features": row} for row in matrix.tolist()]}, "regress")
    assert answer.status_code == 200, answer.text
    (wanted,) = demo.run(DIABETES, matrix).values()
    np.testing.assert_allclose(answer.json()["results"], wanted[:, 0], rtol=1e-5)


@pytest.mark.parametrize(("model", "verb"), [("diabetes", "classify"), ("breast_cancer", "regress")])
def test_what_a_model_does_not_do(gateway, model, verb):
    answer = gateway.v1(model, {"examples": [{"features": demo.features(model)[0].tolist()}]}, verb)
    assert answer.status_code == 400 and f":{verb}" in answer.json()["error"], answer.text


@pytest.mark.parametrize("body", [{}, {"examples": []}, {"examples": [{}]}, {"examples": [{"features": [1, 2]}]},
                                  {"examples": [{"nobody": [0] * 30}]}, {"instances": [[0] * 30]}])
def test_examples_of_no_sense(gateway, body):
    answer = gateway.v1("breast_cancer", body, "classify")
    assert answer.status_code == 400 and answer.json()["error"], answer.text


# ---- questions ----------------------------------------------------------------------------

AVAILABLE = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(("of", "version"), [("digits/versions/2", "2"), ("digits/labels/stable", "1")])
def test_the_status_of_a_version(gateway, of, version):
    answer = get(gateway, of)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version_status"] == [{"version": version, **AVAILABLE}]


@pytest.mark.parametrize("of", ["nobody", "digits/versions/9", "digits/labels/nobody", "nobody/metadata",
                                "digits/versions/9/metadata"])
def test_the_status_of_what_is_not_there(gateway, of):
    answer = get(gateway, of)
    assert answer.status_code == 404 and answer.json()["error"], answer.text


@pytest.mark.parametrize(("of", "version"), [("", "1"), ("/versions/2", "2"), ("/labels/stable", "1")])
def test_metadata(gateway, of, version):
    answer = get(gateway, f"digits{of}/metadata")
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_spec"] == {"name": "digits", "signature_name": "", "version": version}
    signature = answer.json()["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    described = {name: (tensor["dtype"], [dim["size"] for dim in tensor["tensor_shape"]["dim"]])
                 for name, tensor in (signature["inputs"] | signature["outputs"]).items()}
    assert described == {"image": ("DT_FLOAT", ["-1", "64"]), "output_label": ("DT_INT64", ["-1"]),
                         "output_probability": ("DT_FLOAT", ["-1", "10"])}


@pytest.mark.parametrize("verb", ["explain", "nothing"])
def test_a_verb_that_is_not_spoken(gateway, verb):
    answer = gateway.v1("digits", {"instances": [[0] * 64]}, verb)
    assert answer.status_code in (404, 501) and verb in answer.json()["error"], answer.text


def test_version_and_label_together(gateway):
    answer = gateway.v1("digits/versions/1/labels/stable", {"instances": [[0] * 64]})
    assert answer.status_code in (400, 404) and answer.json()["error"], answer.text
